import json
import math

import pyarrow.parquet
import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.lm.image_bits import ImageBits
from pictogram.lm.image_bits_file import check_bits_file, write_image_bits

NAN = math.nan
KEYS = ["a.png", "日本.png"]
ROWS = [
    {
        "key": "a.png",
        "codes_0_bits_given_caption": 1.5,
        "codes_0_bits": 2.5,
        "codes_1_bits_given_caption": 10.25,
        "codes_1_bits": 12.0,
        "caption_bits_given_codes": 4.0,
        "caption_bits": 7.125,
        "caption_bytes": 9,
    },
    {
        "key": "日本.png",
        "codes_0_bits_given_caption": None,
        "codes_0_bits": 3.5,
        "codes_1_bits_given_caption": None,
        "codes_1_bits": 13.0,
        "caption_bits_given_codes": None,
        "caption_bits": None,
        "caption_bytes": None,
    },
]


@pytest.fixture
def bits() -> ImageBits:
    def table(*rows) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.float64)

    return ImageBits(
        caption_bytes=table(9.0, NAN),
        too_long=torch.tensor([False, False]),
        codes_given_caption=table([1.5, 10.25], [NAN, NAN]),
        codes=table([2.5, 12.0], [3.5, 13.0]),
        caption_given_codes=table(4.0, NAN),
        caption=table(7.125, NAN),
        illegal=torch.zeros(2, 3),
        layout=torch.zeros(2, 3),
    )


def test_every_value_returns(bits, tmp_path):
    write_image_bits(tmp_path / "bits.jsonl", KEYS, bits)
    lines = (tmp_path / "bits.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    assert "日本.png" in lines[1] and "NaN" not in lines[1]
    write_image_bits(tmp_path / "bits.parquet", KEYS, bits)
    assert pyarrow.parquet.read_table(tmp_path / "bits.parquet").to_pylist() == ROWS


def test_the_same_bytes_the_next_time(bits, tmp_path):
    for name in ("bits.jsonl", "bits.parquet"):
        contents = []
        for _ in range(2):
            write_image_bits(tmp_path / name, KEYS, bits)
            contents.append((tmp_path / name).read_bytes())
        assert contents[0] == contents[1]


def test_other_files_are_refused(bits, tmp_path):
    for name in ("bits.csv", "bits", "parquet"):
        with pytest.raises(InputError, match=r"go into a \.parquet or \.jsonl file, got"):
            check_bits_file(tmp_path / name)
        with pytest.raises(InputError, match="bits of every picture"):
            write_image_bits(tmp_path / name, KEYS, bits)
    assert not list(tmp_path.iterdir())
