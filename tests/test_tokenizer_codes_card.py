from dataclasses import replace

import numpy as np
import pytest
import yaml
from PIL import Image
from tiny_adapters import adapted
from tiny_chain import codes_folder, image_tokenizer, tokenizer_folder

from pictogram.tokenizer.codes_card import codes_card, example_pictures, size_category
from pictogram.tokenizer.codes_location import find_codes
from pictogram.tokenizer.codes_manifest import CodesManifest
from pictogram.tokenizer.codes_writer import write_codes
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.loading import load_image_tokenizer


@pytest.fixture
def manifest() -> CodesManifest:
    return replace(find_codes(codes_folder()).manifest, tokenizer_id="owner/tokenizer", tokenizer_revision="1" * 40)


def blocks(card: str) -> list[str]:
    return [block.split("```")[0] for block in card.split("```python\n")[1:]]


def test_what_the_hub_and_datasets_read(manifest):
    test = replace(manifest.splits["train"], num_shards=1, rows=2000)
    manifest = replace(manifest, splits=manifest.splits | {"test": test})
    metadata = yaml.safe_load(codes_card(manifest, "owner/name").split("---\n")[1])
    assert metadata["tags"] == ["pictogram", "image-tokenizer", "image-codes"]
    assert metadata["size_categories"] == ["1K<n<10K"]
    (default,) = metadata["configs"]
    assert default == {
        "config_name": "default",
        "data_files": [
            {"split": "train", "path": "data/train-*-of-00002.parquet"},
            {"split": "test", "path": "data/test-*-of-00001.parquet"},
        ],
    }


def test_what_people_read(manifest):
    card = codes_card(manifest, "owner/name")
    assert "A picture is 5 codes, 15.3 bits" in card
    assert "| train | 16 | 16 | 0 | 2 |" in card
    assert "| 1 | 8x8 pixels | 2x2 | 4 | 9 | 12.7 |" in card
    assert f"| image tokenizer | `owner/tokenizer` at `{'1' * 40}` |" in card
    assert manifest.codes_fingerprint in card and manifest.decoder_fingerprint in card
    assert f"pictogram {manifest.versions['pictogram']}" in card
    assert "Left out" not in card and ".png)" not in card
    assert "](examples.png)" in codes_card(manifest, "owner/name", has_picture=True)
    assert card == codes_card(manifest, "owner/name"), "the same every time"


def test_examples_are_python(manifest):
    named = blocks(codes_card(manifest, "owner/name"))
    for code in named:
        compile(code, "card", "exec")
    assert f'load_image_tokenizer("owner/tokenizer", revision="{"1" * 40}")' in named[-1]
    unnamed = codes_card(replace(manifest, tokenizer_id=None, tokenizer_revision=None), "owner/name")
    for code in blocks(unnamed):
        compile(code, "card", "exec")
    assert "load_image_tokenizer" not in unnamed
    assert "| image tokenizer | not on the Hub |" in unnamed


def test_the_first_failures_and_how_many_more(manifest):
    failures = [{"key": f"a|{index}.png", "reason": "no\npicture"} for index in range(7)]
    split = replace(manifest.splits["train"], failures=failures, input_rows=23)
    card = codes_card(replace(manifest, splits={"train": split}), "owner/name")
    assert "| train | 16 | 23 | 7 | 2 |" in card
    assert "## Left out" in card and r"| train | `a\|0.png` | no picture |" in card
    assert "4.png" in card and "5.png" not in card and "And 2 more." in card
    few = codes_card(replace(manifest, splits={"train": replace(split, failures=failures[:1])}), "owner/name")
    assert "Left out" in few and "more." not in few


def test_pictures_of_several_sizes(tmp_path):
    (tmp_path / "in").mkdir()
    generator = np.random.default_rng(0)
    for index, (height, width) in enumerate([(16, 16), (24, 8)]):
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "in" / f"{index}.png")
    native = ImageTokenizerImageProcessorPil(do_resize=False)
    manifest = write_codes(load_image_source(str(tmp_path / "in")), image_tokenizer(), native, tmp_path / "out")
    card = codes_card(manifest, "owner/name")
    assert "every row has grids of its own" in card and "| 1 | 8 | 9 |" in card
    assert example_pictures(find_codes(tmp_path / "out"), image_tokenizer()) is not None


def test_example_pictures():
    location, model = find_codes(codes_folder()), load_image_tokenizer(tokenizer_folder()).model
    picture = example_pictures(location, model)
    assert picture is not None
    assert picture.size == (2 * 102 + 6, 20 + 6 * 102 + 6)  # two prefixes of six rows, and a line of words
    again = example_pictures(location, model)
    assert again is not None and picture.tobytes() == again.tobytes()
    assert example_pictures(location, adapted("chameleon")) is None  # has no decoder


@pytest.mark.parametrize(
    ("rows", "name"),
    [(0, "n<1K"), (10**5, "100K<n<1M"), (10**6 - 1, "100K<n<1M"), (10**12, "n>1T"), (5 * 10**11, "100B<n<1T")],
)
def test_sizes(rows, name):
    assert size_category(rows) == name
