"""Pictures cut into patches, and put together again."""

from __future__ import annotations

import torch

from ..hub.errors import InputError


def to_patches(pictures: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """(N, H, W, C) -> (N, patches in raster order, rows * columns * C) float32.

    Raises:
        InputError: patches of `rows` x `columns` pixels do not tile the pictures.
    """
    count, height, width, channels = pictures.shape
    if height % rows or width % columns:
        raise InputError(f"patches of {rows}x{columns} do not tile pictures of {height}x{width}")
    grid = pictures.reshape(count, height // rows, rows, width // columns, columns, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(count, -1, rows * columns * channels).float()


def from_patches(patches: torch.Tensor, rows: int, columns: int, size: tuple[int, int]) -> torch.Tensor:
    """(N, patches in raster order, rows * columns * C) -> (N, H, W, C), the way back.

    Args:
        patches: of any dtype, which stays.
        rows: of a patch, in pixels.
        columns: of a patch, in pixels.
        size: H and W of the pictures, in pixels.
    """
    height, width = size
    grid = patches.reshape(len(patches), height // rows, width // columns, rows, columns, -1)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(len(patches), height, width, -1)
