import yaml

from pictogram.hub.card import write_bundle_card


def test_card_holds_the_figures_and_valid_metadata(tmp_path):
    write_bundle_card(tmp_path, architecture="Qwen3ForCausalLM", prompt="red apple", figures={"PSNR, dB": "20.1"})
    _, metadata, body = (tmp_path / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert yaml.safe_load(metadata)["pipeline_tag"] == "text-to-image"
    assert "| PSNR, dB | 20.1 |" in body and 'pipeline("red apple"' in body
    assert "samples.png" not in body


def test_card_shows_the_picture_beside_it(tmp_path):
    write_bundle_card(tmp_path, architecture="Qwen3ForCausalLM", prompt="a", figures={}, has_picture=True)
    assert "](samples.png)" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_a_prompt_with_quotes_or_lines_leaves_the_example_valid_python(tmp_path):
    write_bundle_card(tmp_path, architecture="Qwen3ForCausalLM", prompt='say "hi"\n\\n', figures={})
    code = (tmp_path / "README.md").read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
