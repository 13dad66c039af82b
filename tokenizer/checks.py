"""What every image tokenizer refuses: pixels and codes that do not fit its configuration."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..hub.errors import InputError
from .interface import ImageCodes, TokenizerConfig


def check_pixels(pixel_values: torch.Tensor, config: TokenizerConfig) -> None:
    """Checks (B, C, H, W) float pixels.

    Raises:
        InputError: wrong number of dimensions or channels, no picture at all, sides the strides do not divide, values
            that are no floats, or not finite.
    """
    channels = config.num_channels
    if pixel_values.dim() != 4 or pixel_values.shape[1] != channels or not len(pixel_values):
        raise InputError(f"pixel_values must be (B, {channels}, H, W), got {tuple(pixel_values.shape)}")
    if not pixel_values.is_floating_point():
        raise InputError(f"pixel_values must be floats in [-1, 1], got {pixel_values.dtype}")
    config.grids(*pixel_values.shape[-2:])
    if not torch.isfinite(pixel_values).all():
        raise InputError("pixel_values must be finite, got NaN or infinity")


def complete_codes(codes: Sequence[torch.Tensor], used: int, config: TokenizerConfig) -> ImageCodes:
    """Checks the first `used` levels and fills the others, whose values have no effect, with zeros.

    Args:
        codes: one integer (B, h_l, w_l) per level, coarse to fine; those after the first `used` may be missing.
        used: 1..L.
        config: of the tokenizer.

    Returns:
        int64 codes of all levels.

    Raises:
        InputError: wrong number of levels, grids that do not belong together, codes outside their codebook.
    """
    total = config.num_levels
    if not 1 <= used <= total or not used <= len(codes) <= total:
        raise InputError(f"num_levels must be 1..{total} and codes must hold them, got {used} of {len(codes)} levels")
    for level, grid in enumerate(codes):
        if grid.dim() != 3 or grid.is_floating_point() or len(grid) != len(codes[0]):
            raise InputError(f"codes of level {level} must be integers (B, h, w), got {grid.dtype} {tuple(grid.shape)}")
    grids, given = _grids_of(codes, config), [tuple(grid.shape[1:]) for grid in codes]
    if given != list(grids[: len(codes)]):
        raise InputError(f"grids must be {grids[: len(codes)]}, got {given}")
    kept = [grid.long() for grid in codes[:used]]
    for level, (grid, size) in enumerate(zip(kept, config.codebook_sizes, strict=False)):
        if grid.numel() and (int(grid.min()) < 0 or int(grid.max()) >= size):
            raise InputError(f"codes of level {level} must be 0..{size - 1}, got {int(grid.min())}..{int(grid.max())}")
    return (*kept, *(kept[0].new_zeros(len(kept[0]), *grid) for grid in grids[used:]))


def _grids_of(codes: Sequence[torch.Tensor], config: TokenizerConfig) -> tuple[tuple[int, int], ...]:
    """Grids of all levels, from the first spatial one given; the whole-image code alone means the training size."""
    first = int(config.has_image_level)
    if len(codes) <= first:
        return config.grids(config.image_size, config.image_size)
    stride = config.spatial_strides[0]
    height, width = codes[first].shape[1:]
    return config.grids(height * stride, width * stride)
