import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from tiny_chain import bundle, prior, shared_bundle

from pictogram.lm.bundle_card import bundle_card, drafted_prompt, write_bundle_card


def metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def python_in(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)


def test_what_the_hub_reads():
    wanted = {
        "library_name": "pictogram",
        "pipeline_tag": "text-to-image",
        "tags": ["pictogram", "image-tokenizer", "text-to-image", "image-to-text"],
    }
    assert metadata(bundle_card(shared_bundle(), "owner/name")) == wanted
    prompt = 'say "hi": # \n\\n日本'
    assert metadata(bundle_card(shared_bundle(), "owner/name", prompt=prompt)) == wanted | {
        "widget": [{"text": prompt}]
    }


@pytest.mark.parametrize("order", ["level", "pyramid"])
def test_what_it_is_made_of(order):
    parts = shared_bundle(order)
    card = bundle_card(parts, "owner/name")
    num_parameters = sum(parameter.numel() for parameter in parts.prior.parameters())
    assert f"A stock `Qwen3ForCausalLM` of {num_parameters:,} parameters" in card
    assert f"| ids | {parts.vocabulary.vocab_size} |\n| of text | 290 |" in card
    assert f"| of codes | 6 + 9 |\n| order of codes | {order} |\n| context, tokens | 64 |" in card
    bits = math.log2(6) + 4 * math.log2(9)
    assert f"A picture of size `2x2` is 5 codes, {bits:.1f} bits" in card
    assert "| 0 | whole picture | 1x1 | 1 | 6 | 2.6 |\n| 1 | 8x8 pixels | 2x2 | 4 | 9 | 12.7 |" in card
    for fingerprint in (parts.vocabulary.codes_fingerprint, parts.vocabulary.decoder_fingerprint):
        assert f"`{fingerprint}`" in card
    assert "## Figures" not in card and ".png)" not in card and "license" not in card
    assert card == bundle_card(parts, "owner/name"), "the same every time"


def test_every_size_has_its_levels():
    parts = bundle()
    vocabulary = parts.vocabulary.add_size([(1, 1), (3, 2)])
    card = bundle_card(replace(parts, vocabulary=vocabulary, prior=prior(vocabulary)), "owner/name")
    assert "size `2x2` is 5 codes" in card and "size `3x2` is 7 codes" in card


def test_examples_are_python_with_the_repository_s_name():
    for prompt in ('say "hi"\n\\n', "```", ""):
        examples = python_in(bundle_card(shared_bundle(), "owner/name", prompt=prompt))
        assert len(examples) == 2
        for code in examples:
            compile(code, "card", "exec")
            assert '.from_pretrained("owner/name")' in code
    assert 'draw("red apple", num_images' in bundle_card(shared_bundle(), "owner/name", prompt="red apple")


def test_figures_that_lie_in_the_folder(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 20, "loss": 1.5}\n')
    card = bundle_card(shared_bundle(), "owner/name", folder=tmp_path, has_picture=True)
    assert (
        "\n\n## Figures\n\nAfter 20 steps:\n\n| mean |" in card
        and "| loss | 1.5 | - |\n\n## Limits\n\n- It knows" in card
    )
    assert "](samples.png)" in card


def test_without_figures_there_is_no_section(tmp_path):
    assert bundle_card(shared_bundle(), "owner/name", folder=tmp_path) == bundle_card(shared_bundle(), "owner/name")


def test_a_draft_names_no_repository_and_keeps_the_prompt(tmp_path):
    (tmp_path / "samples.png").write_bytes(b"")
    for prompt in ('a "red" apple:\n日本', ""):
        write_bundle_card(shared_bundle(), tmp_path, prompt=prompt)
        card = (tmp_path / "README.md").read_text(encoding="utf-8")
        assert "# A pictogram bundle\n" in card and '.from_pretrained("path/of/this/folder")' in card
        assert "](samples.png)" in card and str(tmp_path) not in card
        assert drafted_prompt(tmp_path) == prompt


def test_a_card_of_somebody_s_own_has_no_drafted_prompt(tmp_path: Path):
    assert drafted_prompt(tmp_path) == ""
    write_bundle_card(shared_bundle(), tmp_path, prompt="red apple")
    card = tmp_path / "README.md"
    card.write_text(card.read_text(encoding="utf-8").replace("red apple", "green pear"), encoding="utf-8")
    assert drafted_prompt(tmp_path) == ""
