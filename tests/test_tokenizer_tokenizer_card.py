import json
import math
from dataclasses import replace

import pytest
import yaml
from tiny_adapters import adapted
from tiny_chain import tokenizer_folder
from tiny_evaluations import provenance
from tiny_evaluations import tokenizer_evaluation as evaluation

from pictogram.hub.card_facts import CardFacts
from pictogram.hub.evaluations import write_evaluation
from pictogram.hub.files import write_json
from pictogram.tokenizer.fingerprints import decoder_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.loading import LoadedImageTokenizer, load_image_tokenizer
from pictogram.tokenizer.tokenizer_card import levels_table, raw_bits, tokenizer_card


@pytest.fixture(scope="module")
def loaded() -> LoadedImageTokenizer:
    return load_image_tokenizer(tokenizer_folder())


def metadata(card: str) -> dict:
    return yaml.safe_load(card.split("---\n")[1])


def test_what_the_hub_reads(loaded):
    card = tokenizer_card(loaded, "owner/name")
    assert metadata(card) == {
        "library_name": "pictogram",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["pictogram", "image-tokenizer"],
    }


def test_levels_costs_and_fingerprints(loaded):
    card = tokenizer_card(loaded, "owner/name")
    bits = math.log2(6) + 4 * math.log2(9)
    assert f"5 codes, {bits:.1f} bits" in card
    assert "| 0 | whole picture | 1x1 | 1 | 6 | 2.6 |\n| 1 | 8x8 pixels | 2x2 | 4 | 9 | 12.7 |" in card
    assert loaded.codes_fingerprint in card and decoder_fingerprint(loaded.model) in card
    assert "any number of first ones decodes" in card
    assert "Figures" not in card and ".png)" not in card
    assert card == tokenizer_card(loaded, "owner/name"), "the same every time"
    assert "- It was made for colour pictures of 16x16 pixels" in card


def test_the_example_is_python(loaded):
    code = tokenizer_card(loaded, "owner/name").split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert 'load_image_tokenizer("owner/name")' in code and ".decode(" in code


def test_figures_limits_and_what_the_hub_lists(loaded, tmp_path):
    write_evaluation(tmp_path, "tokenizer", loaded.fingerprint, evaluation())
    write_json(tmp_path / "complete.json", {"train": {"num_images": 1, "psnr": [9.0, 25.0]}})
    facts = CardFacts("apache-2.0", "MIT, see NOTICE", ["owner/pictures"])
    card = tokenizer_card(loaded, "owner/name", folder=tmp_path, facts=facts, has_picture=True)
    assert "\n## Figures\n\nOn 300 pictures of `photos`" in card and "](reconstructions.png)" in card
    assert "come back at 25.00 dB, those of split `test` at 21.46 dB" in card.split("## Limits")[1]
    assert "| license of the training data | MIT, see NOTICE |" in card
    found = metadata(card)
    assert (found["license"], found["data_license"], found["datasets"]) == (
        "apache-2.0",
        "MIT, see NOTICE",
        ["owner/pictures"],
    )
    (entry,) = found["model-index"]
    assert entry["name"] == "name" and entry["results"][0]["metrics"][0]["value"] == 21.456


def test_code_that_goes_along(loaded):
    """That the example runs is in tests/test_tokenizer_remote_code.py."""
    plain, card = tokenizer_card(loaded, "owner/name"), tokenizer_card(loaded, "owner/name", remote_code=True)
    assert metadata(card) == metadata(plain) | {"tags": ["pictogram", "image-tokenizer", "custom_code"]}
    start, end = card.index("\nWithout pictogram, torch, pillow and `transformers"), card.index("\n## Limits")
    assert (card[:start] + card[end:]).split("---\n", 2)[2] == plain.split("---\n", 2)[2]
    assert card[start:end].count('from_pretrained("owner/name", trust_remote_code=True)') == 2
    assert "trust_remote_code" not in plain


def test_how_it_was_made(loaded):
    trained = replace(loaded, provenance=provenance(loaded))
    section = tokenizer_card(trained, "owner/name").split("## Training")[1]
    assert "1,806 rows of `embedded`, split `train`" in section and "seed 3" in section and "num_steps 7" in section


@pytest.mark.parametrize("content", [{}, {"train": None}, {"train": {"psnr": [1.0, 2.0, 3.0]}}])
def test_without_figures_there_is_no_section(content, loaded, tmp_path):
    (tmp_path / "complete.json").write_text(json.dumps(content))
    assert tokenizer_card(loaded, "owner/name", folder=tmp_path) == tokenizer_card(loaded, "owner/name")


def test_a_tokenizer_without_decoder():
    model = adapted("chameleon")
    size = {"height": model.config.image_size, "width": model.config.image_size}
    loaded = LoadedImageTokenizer(model, ImageTokenizerImageProcessorPil(size=size), "chameleon")
    card = tokenizer_card(loaded, "owner/name")
    assert "It has no decoder." in card and ".decode(" not in card


def test_pictures_of_any_size_are_counted_at_the_tokenizer_s_own(loaded):
    native = LoadedImageTokenizer(loaded.model, ImageTokenizerImageProcessorPil(do_resize=False), "native")
    assert "5 codes" in tokenizer_card(native, "owner/name")


def test_bits_and_levels():
    assert raw_bits([(1, 1), (4, 4)], [2, 16]) == 65
    assert levels_table([16], [(2, 3)], [4]).splitlines()[2] == "| 0 | 16x16 pixels | 2x3 | 6 | 4 | 12.0 |"
