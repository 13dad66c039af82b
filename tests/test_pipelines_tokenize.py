from typing import Any

import pytest
import torch
from PIL import Image
from tiny_chain import CAPTIONS, NUM_PICTURES, codes_folder, image_tokenizer, pictures, processor, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.pipelines.tokenize import TokenizeConfig, run_tokenize, tokenize
from pictogram.tokenizer.codes_dataset import load_codes


def test_codes_are_those_of_the_tokenizer():
    codes = load_codes(codes_folder())
    images: list[Image.Image] = [Image.open(path) for path in sorted(pictures().glob("*.png"))]
    expected = image_tokenizer().encode(processor()(images, return_tensors="pt")["pixel_values"])
    for stored, level in zip(codes.codes(range(NUM_PICTURES)), expected, strict=True):
        assert torch.equal(stored, level)
    assert [codes.captions(row) for row in range(8)] == [[caption] for caption in CAPTIONS]


def test_the_command_tells_what_was_left_out(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    Image.new("RGB", (20, 20)).save(data / "a.png")
    (data / "b.png").write_bytes(b"damaged")
    config = TokenizeConfig(data=str(data), model=str(tokenizer_folder()), output=str(tmp_path / "codes"))
    failures = ["b.png (not a picture PIL can read)"]
    counts = {"pictures": 1, "with_caption": 0, "failures": failures}
    assert run_tokenize(config) == {"codes": config.output, "split": "train", **counts}


def test_the_same_folder_again_changes_nothing_and_another_split_is_added():
    before = {path: path.read_bytes() for path in codes_folder().rglob("*.parquet")}
    options: dict[str, Any] = dict(
        data=str(pictures()), model=str(tokenizer_folder()), output=str(codes_folder()), rows_per_shard=10
    )
    manifest = tokenize(TokenizeConfig(**options))
    assert {path: path.read_bytes() for path in codes_folder().rglob("*.parquet")} == before
    assert manifest.splits["train"].rows == NUM_PICTURES


def test_codes_of_two_tokenizers_are_not_mixed(tmp_path):
    options: dict[str, Any] = dict(data=str(pictures()), output=str(tmp_path / "codes"))
    tokenize(TokenizeConfig(**options, model=str(tokenizer_folder())))
    with pytest.raises(InputError, match="codes_fingerprint"):
        tokenize(TokenizeConfig(**options, model=str(tokenizer_folder(1))))


@pytest.mark.parametrize("option", ["batch_size", "rows_per_shard"])
def test_sizes_below_1_are_refused(option: str):
    with pytest.raises(InputError, match=f"{option} must be at least 1"):
        TokenizeConfig(**{option: 0})  # pyright: ignore[reportArgumentType]
