"""Histograms of oriented gradients: which edges a picture has, and about where (Dalal & Triggs 2005).

They change little when a picture is shifted by a pixel or made brighter, so pictures with near histograms are more
often of one kind than pictures with near pixels. Nothing in them was learned, from labels or otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from .pixel_dataset import PixelDataset
from .progress import progress_bar
from .reconstructions import row_batches

_NUM_ORIENTATIONS = 8
"""Bins of half a turn: an edge and its reverse count as one."""

_NUM_CELLS = 8
"""Cells along each side; they overlap by half."""


def gradient_histograms(pixel_values: torch.Tensor) -> torch.Tensor:
    """The square roots of the histograms, so that a strong edge does not drown many weak ones.

    Args:
        pixel_values: (B, C, H, W); each pixel counts by the channel whose gradient is the largest there.

    Returns:
        (B, F) float32; F depends on the size: 8 orientations, and 15 x 15 cells where sides are multiples of 16 pixels.
    """
    x, y = _gradients(pixel_values.float())
    strength, channel = (x.square() + y.square()).max(1, keepdim=True)
    x, y = x.gather(1, channel), y.gather(1, channel)
    angle = torch.atan2(y, x) / math.pi * _NUM_ORIENTATIONS  # in bins, modulo their number
    bins = torch.arange(_NUM_ORIENTATIONS, device=angle.device)[:, None, None]
    turned = (angle - bins + _NUM_ORIENTATIONS / 2) % _NUM_ORIENTATIONS - _NUM_ORIENTATIONS / 2
    votes = strength.sqrt() * F.relu(1 - turned.abs())  # (B, orientations, H, W): linear between two bins
    cell = [max(1, side // _NUM_CELLS) for side in votes.shape[-2:]]
    return F.avg_pool2d(votes, cell, [max(1, side // 2) for side in cell]).sqrt().flatten(1)


def edges_of(dataset: PixelDataset, rows: Sequence[int]) -> torch.Tensor:
    """(N, F) float32 histograms of N rows of a dataset, whose pictures have one size; a bar shows how far it is."""
    found: list[torch.Tensor] = []
    with progress_bar("edges", len(rows)) as advance:
        for batch in row_batches(len(rows), 256):
            found.append(gradient_histograms(dataset.pixels(rows[place] for place in batch)))
            advance(len(batch))
    return torch.cat(found)


def _gradients(pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Central differences across and down of pictures blurred by one pixel, (B, C, H, W) each; none over the border."""
    blurred = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    around = F.pad(blurred, (1, 1, 1, 1), mode="replicate")
    return around[..., 1:-1, 2:] - around[..., 1:-1, :-2], around[..., 2:, 1:-1] - around[..., :-2, 1:-1]
