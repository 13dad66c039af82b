import json
import math

import pytest
import yaml
from tiny_adapters import adapted
from tiny_chain import tokenizer_folder

from pictogram.hub.errors import InputError
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


def evaluation(loaded: LoadedImageTokenizer) -> dict:
    """What `pictogram evaluate tokenizer --json` prints, as far as a card looks."""
    return {
        "num_images": 300,
        "psnr": [None, 21.456],
        "ssim": None,
        "usage": [1.0, 0.5],
        "perplexity": [5.5, 8.0],
        "static_bits": [2.5, 12.0],
        "reference_bits": [2.625, 12.125],
        "protocol": {
            "data": "/home/me/photos",
            "split": "test",
            "preprocessing": "RGB; padded",
            "codes_fingerprint": loaded.codes_fingerprint,
            "decoder_fingerprint": decoder_fingerprint(loaded.model),
        },
    }


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


def test_the_example_is_python(loaded):
    code = tokenizer_card(loaded, "owner/name").split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert 'load_image_tokenizer("owner/name")' in code and ".decode(" in code


def test_figures_of_an_evaluation(loaded, tmp_path):
    write_json(tmp_path / "evaluation.json", evaluation(loaded))
    write_json(tmp_path / "complete.json", {"train": {"num_images": 1, "psnr": [9.0, 9.0]}})
    card = tokenizer_card(loaded, "owner/name", folder=tmp_path, has_picture=True)
    assert "On 300 pictures of `photos`, split `test`, RGB; padded." in card
    assert "/home/me" not in card
    titles = "| level | codes | PSNR dB | codes in use | perplexity | bits, one histogram | bits, held out |"
    assert f"{titles}\n|---|---|---|---|---|---|---|\n| 0 | 1 | - | 100.0% | 5.5 | 2.5 | 2.6 |" in card
    assert "| 1 | 4 | 21.46 | 50.0% | 8.0 | 12.0 | 12.1 |" in card
    assert "](reconstructions.png)" in card


def test_figures_of_another_tokenizer_are_refused(loaded, tmp_path):
    for name in ("codes_fingerprint", "decoder_fingerprint"):
        other = evaluation(loaded)
        other["protocol"][name] = "0" * 64
        write_json(tmp_path / "evaluation.json", other)
        with pytest.raises(InputError, match=f"was measured on another tokenizer: its {name} differs"):
            tokenizer_card(loaded, "owner/name", folder=tmp_path)


def test_figures_of_a_training(loaded, tmp_path):
    write_json(tmp_path / "complete.json", {"steps": 3, "train": {"num_images": 16, "psnr": [10.0, 12.345]}})
    card = tokenizer_card(loaded, "owner/name", folder=tmp_path)
    assert "On 16 training pictures." in card
    assert "| level | codes | PSNR dB |\n|---|---|---|\n| 0 | 1 | 10.00 |\n| 1 | 4 | 12.35 |" in card


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
