"""Files of format version 1: read for ever, and written the same."""

import contextlib
import random
import resource
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pictogram.hub.errors import InputError
from pictogram.pipelines.image_codec import ImageCodec

FOLDER = Path(__file__).parent / "codec_v1"
NAMES = ["0.png", "1.png", "2.png", "3.png", "4.png", "wide.png", "wide-grey.png"]
FILES = {
    "one.picto": (NAMES[:1], {}),
    "grey.picto": (NAMES[-1:], {"num_levels": 1}),
    "archive.picto": (NAMES, {"names": NAMES, "group_size": 3}),
    "static.picto": (NAMES, {"static": True}),
}
"""What went in, and how."""

MOST_MEMORY = 256 << 20
"""Bytes that a damaged file may take, stated in docs/codec.md."""


@cache
def codec() -> ImageCodec:
    return ImageCodec.from_pretrained(FOLDER / "bundle", device="cpu")


def side_by_side(images: list[Image.Image]) -> np.ndarray:
    sheet = Image.new("RGB", (sum(image.width for image in images), max(image.height for image in images)))
    left = 0
    for image in images:
        sheet.paste(image.convert("RGB"), (left, 0))
        left += image.width
    return np.array(sheet).astype(int)


@pytest.mark.parametrize("name", FILES)
def test_old_files_are_read(name):
    result = codec().decompress((FOLDER / name).read_bytes())
    expected = np.array(Image.open(FOLDER / name.replace(".picto", ".png"))).astype(int)
    # Codes are exact, or there would be an error; the decoder's float32 may round otherwise elsewhere.
    assert np.abs(side_by_side(result.images) - expected).max() <= 1
    assert list(result.names) == (NAMES if name == "archive.picto" else [])


@pytest.mark.parametrize("name", FILES)
def test_the_same_bytes_are_written(name):
    names, options = FILES[name]
    file = codec().compress([FOLDER / "pictures" / each for each in names], **options)
    assert file.data.hex() == (FOLDER / name).read_bytes().hex()


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_hundred_thousand_files_that_nobody_wrote(name):
    """Mutated, cut off, extended and random: an error in one line, or the very same pictures."""
    tested, data, drawn = codec(), (FOLDER / name).read_bytes(), random.Random(name)
    expected = side_by_side(tested.decompress(data).images)
    others = [(FOLDER / other).read_bytes() for other in FILES]
    survivors, before = 0, peak_memory()
    for _ in range(25_000):
        with contextlib.suppress(InputError):
            result = tested.decompress(mutated(data, others, drawn))
            survivors += 1
            assert any(np.array_equal(side_by_side(result.images), each) for each in (expected, *known()))
    assert survivors < 12_500  # several last bytes may mean the same
    assert peak_memory() - before < MOST_MEMORY


def peak_memory() -> int:
    """Bytes that this process has held at most so far."""
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


@cache
def known() -> tuple[np.ndarray, ...]:
    """The pictures of all files: a mutation may put another whole file together."""
    return tuple(side_by_side(codec().decompress((FOLDER / name).read_bytes()).images) for name in FILES)


def mutated(data: bytes, others: list[bytes], drawn: random.Random) -> bytes:
    """One of many ways to spoil a file."""
    kind, place = drawn.randrange(7), drawn.randrange(len(data))
    if kind == 0:
        return data[:place] + bytes([data[place] ^ 1 << drawn.randrange(8)]) + data[place + 1 :]
    if kind == 1:
        return data[:place]
    if kind == 2:
        return data + drawn.randbytes(drawn.randint(1, 9))
    if kind == 3:
        return data[:place] + drawn.randbytes(drawn.randint(1, 4)) + data[place:]
    if kind == 4:
        other = drawn.choice(others)
        return data[:place] + other[drawn.randrange(len(other)) :]
    if kind == 5:
        return data[:6] + drawn.randbytes(drawn.randint(0, 60))  # the right model, then anything
    spoiled = bytearray(data)
    for _ in range(drawn.randint(1, 5)):
        spoiled[drawn.randrange(len(data))] = drawn.randrange(256)
    return bytes(spoiled)
