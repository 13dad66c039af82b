import pytest
import torch

from pictogram import InputError
from pictogram.tokenizer.patches import from_patches, to_patches


def test_patches_tile_in_raster_order():
    patches = to_patches(torch.arange(16, dtype=torch.uint8).view(1, 4, 4, 1), 2, 2)
    assert patches.tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]]
    with pytest.raises(InputError, match="3x2 do not tile pictures of 4x4"):
        to_patches(torch.zeros(1, 4, 4, 1), 3, 2)


@pytest.mark.parametrize(("rows", "columns"), [(2, 3), (6, 1), (6, 9)])
def test_patches_come_together_again(rows, columns):
    pictures = torch.arange(2 * 6 * 9 * 3).view(2, 6, 9, 3).float()
    assert from_patches(to_patches(pictures, rows, columns), rows, columns, (6, 9)).equal(pictures)
