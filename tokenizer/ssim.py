"""Structural similarity of two pictures.

Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity", eq. 13
with the constants of section III-C: an 11x11 Gaussian window of standard deviation 1.5, K1 = 0.01, K2 = 0.03, L = 255.
"""

from __future__ import annotations

import torch

from ..hub.errors import InputError

WINDOW = 11
"""Side of the window, pixels: the least side of a picture."""

_SIGMA = 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ssim(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Mean over all windows that lie wholly inside the picture, and over the channels, each by itself.

    Args:
        first: (B, C, H, W) 8-bit values, 0..255, of any dtype.
        second: the same.

    Returns:
        (B,) float64, at most 1, which only equal pictures reach.

    Raises:
        InputError: a side is shorter than the window.
    """
    if min(first.shape[-2:]) < WINDOW:
        raise InputError(f"SSIM needs pictures of at least {WINDOW} x {WINDOW} pixels, got {tuple(first.shape[-2:])}")
    x, y = first.double(), second.double()
    mean_x, mean_y, square_x, square_y, product = map(_smooth, (x, y, x * x, y * y, x * y))  # each (B, C, H-10, W-10)
    variance_x, variance_y = square_x - mean_x.square(), square_y - mean_y.square()
    covariance = product - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x.square() + mean_y.square() + _C1)
    structure = (2 * covariance + _C2) / (variance_x + variance_y + _C2)
    return (luminance * structure).mean((1, 2, 3))


def _smooth(values: torch.Tensor) -> torch.Tensor:
    """(..., H, W) -> (..., H - 10, W - 10): the Gaussian mean of every window, one axis after the other."""
    offsets = torch.arange(WINDOW, dtype=torch.float64, device=values.device) - WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    for axis in (-2, -1):
        length = values.shape[axis] - WINDOW + 1
        total = torch.zeros_like(values.narrow(axis, 0, length))
        for start, weight in enumerate((weights / weights.sum()).tolist()):
            total.add_(values.narrow(axis, start, length), alpha=weight)
        values = total
    return values
