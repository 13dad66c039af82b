"""Pictures to the codes of their squares, and back."""

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_chain import shared_bundle

from pictogram.lm.order import unflatten
from pictogram.pipelines.codec_squares import CodecSquares
from pictogram.tokenizer.image_processor import to_images


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_the_codes_of_a_picture_are_those_of_its_squares():
    squares, picture = CodecSquares(shared_bundle("level")), noise(48, 32)
    (group,) = squares.groups([picture], 0, 8)
    parts = [picture.crop((left, top, left + 16, top + 16)) for top in (0, 16) for left in (0, 16, 32)]
    (alone,) = squares.groups(parts, 0, 8)
    assert torch.equal(squares.codes(group), squares.codes(alone))
    whole = squares.images(group.shape, squares.codes(group), False, 0)[0]
    for part, image in zip(parts, squares.images(alone.shape, squares.codes(alone), False, 0), strict=True):
        left, top = 16 * (parts.index(part) % 3), 16 * (parts.index(part) // 3)
        assert np.array_equal(np.array(whole.crop((left, top, left + 16, top + 16))), np.array(image))


@pytest.mark.parametrize("num_levels", [0, 1])
def test_many_squares_go_in_parts(num_levels, monkeypatch):
    squares = CodecSquares(shared_bundle("level"))
    (group,) = squares.groups([noise(40, 40, seed) for seed in range(5)], num_levels, 8)
    expected = squares.codes(group)
    assert expected.shape == (45, 1 if num_levels else 5)
    monkeypatch.setattr("pictogram.pipelines.codec_squares._SQUARES_AT_ONCE", 4)
    assert torch.equal(squares.codes(group), expected)


def test_squares_are_kept_in_8_bits():
    """Floats of all squares would take four times as much."""
    bundle = shared_bundle("level")
    squares = CodecSquares(bundle)
    (group,) = squares.groups([noise(40, 20, seed) for seed in range(3)], 0, 8)
    codes = squares.codes(group)
    kept = squares._pixels_of(codes, 0, False, 0)
    assert kept.dtype == torch.uint8
    decoded = bundle.image_tokenizer.decode(unflatten(codes, squares.grids, "level"))
    expected = to_images(squares.tiling(group.shape).join(decoded))
    found = squares.images(group.shape, codes, False, 0)
    assert [image.tobytes() for image in found] == [image.tobytes() for image in expected]


def test_codes_may_be_chosen_otherwise():
    squares = CodecSquares(shared_bundle("level"))
    (group,) = squares.groups([noise(16, 16)], 0, 8)
    assert squares.codes(group, lambda part: torch.full((len(part), 5), 3)).tolist() == [[3] * 5]
