import numpy as np
import pytest
import torch

from pictogram.tokenizer.padding import Box, contained_box


@pytest.mark.parametrize(
    ("size", "target", "expected"),
    [
        ((28, 28), (32, 32), Box(2, 2, 28, 28)),
        ((32, 32), (32, 32), Box(0, 0, 32, 32)),
        ((27, 31), (32, 32), Box(2, 0, 27, 31)),  # the surplus row is below, the surplus column at the right
        ((1, 1), (32, 16), Box(15, 7, 1, 1)),
        ((64, 64), (32, 32), Box(0, 0, 32, 32)),
        ((100, 50), (32, 32), Box(0, 8, 32, 16)),
        ((33, 3), (32, 32), Box(0, 14, 32, 3)),
        ((1, 5000), (32, 32), Box(15, 0, 1, 32)),  # never thinner than a pixel
        ((5000, 1), (32, 48), Box(0, 23, 32, 1)),
    ],
)
def test_where_pictures_lie(size, target, expected):
    assert contained_box(*size, *target) == expected


def test_every_box_lies_inside_and_touches_the_target_when_shrunk():
    for height in range(1, 70, 3):
        for width in range(1, 70, 4):
            box = contained_box(height, width, 32, 24)
            assert box.top >= 0 and box.left >= 0
            assert box.top + box.height <= 32 and box.left + box.width <= 24
            if height <= 32 and width <= 24:
                assert (box.height, box.width) == (height, width)
            else:
                assert box.height == 32 or box.width == 24
            assert 0 <= 32 - box.height - 2 * box.top <= 1
            assert 0 <= 24 - box.width - 2 * box.left <= 1


def test_the_part_inside():
    values = torch.arange(24).view(1, 4, 6)
    box = Box(1, 2, 2, 3)
    assert box.of(values).tolist() == [[[8, 9, 10], [14, 15, 16]]]
    assert np.array_equal(box.of(values.numpy()), box.of(values).numpy())
    box.of(values)[...] = 0
    assert int(values.sum()) == 276 - (8 + 9 + 10 + 14 + 15 + 16)
