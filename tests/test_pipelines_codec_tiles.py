"""Pictures as squares, and back."""

import pytest
import torch

from pictogram.pipelines.codec_tiles import Tiling


@pytest.mark.parametrize(("height", "width"), [(1, 1), (16, 16), (15, 17), (32, 16), (5, 40), (100, 33)])
@pytest.mark.parametrize("do_pad", [False, True])
def test_squares_join_to_the_picture(height, width, do_pad):
    tiling = Tiling.of(height, width, 16, do_pad)
    pixels = torch.rand(3, 2, height, width)
    squares = tiling.cut(pixels, torch.tensor([0.5, -0.5]))
    assert squares.shape == (3 * tiling.count, 2, 16, 16)
    assert tiling.count == -(-height // 16) * -(-width // 16)
    assert torch.equal(tiling.join(squares), pixels)


def test_squares_go_row_by_row():
    pixels = torch.arange(32 * 48.0).view(1, 1, 32, 48)
    squares = Tiling.of(32, 48, 16, False).cut(pixels, torch.zeros(1))
    assert torch.equal(squares[1, 0], pixels[0, 0, :16, 16:32])
    assert torch.equal(squares[3, 0], pixels[0, 0, 16:, :16])


def test_margins():
    """Small pictures lie on the ground that the model's pictures lie on; others go on with their last pixels."""
    pixels = torch.ones(1, 1, 4, 4)
    centred = Tiling.of(4, 4, 8, True).cut(pixels, torch.tensor([-1.0]))
    assert centred.sum() == 16 - 48 and centred[0, 0, 2:6, 2:6].sum() == 16
    assert Tiling.of(4, 4, 8, False).cut(pixels, torch.tensor([-1.0])).sum() == 64
    assert Tiling.of(4, 9, 8, True).cut(torch.ones(1, 1, 4, 9), torch.tensor([-1.0])).sum() == 128
