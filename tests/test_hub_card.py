import yaml

from pictogram.hub.card import card_text, markdown_table, public_name, write_bundle_card


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


def test_metadata_comes_first_in_its_order_and_is_valid_yaml():
    metadata = {"tags": ["a", "b: c"], "configs": [{"data_files": [{"split": "train", "path": "data/*.parquet"}]}]}
    _, yaml_text, body = card_text(metadata, "\n# Title\n\nText\n\n\n").split("---\n", 2)
    assert yaml.safe_load(yaml_text) == metadata
    assert list(yaml.safe_load(yaml_text)) == ["tags", "configs"]
    assert body == "\n# Title\n\nText\n"


def test_cells_of_tables_cannot_break_them():
    table = markdown_table(["a", "b"], [["x|y", "1\n2"], [3, None]])
    assert table.splitlines() == ["| a | b |", "|---|---|", r"| x\|y | 1 2 |", "| 3 | None |"]


def test_paths_of_this_machine_stay_here(tmp_path):
    assert public_name(str(tmp_path / "photos")) == "photos"
    assert public_name("embedded") == "embedded"
    assert public_name("owner/name") == "owner/name"
