"""Which pictures are most like which: exact nearest neighbours by cosine similarity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ..hub.errors import InputError

_BLOCK = 1 << 25
"""Most similarities held at once."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The nearest neighbours of N points, the nearest first.

    Attributes:
        indices: (N, k) int64; never the point itself.
        similarities: (N, k) float32, cosines.
    """

    indices: torch.Tensor
    similarities: torch.Tensor


@torch.no_grad()
def find_neighbours(points: torch.Tensor, count: int, progress: Callable[[int], None] | None = None) -> Neighbours:
    """Compares every point with every other: N x N products, but never held at once.

    Args:
        points: (N, D).
        count: k.
        progress: called with the number of points done since the last call.

    Raises:
        InputError: not more points than neighbours asked for.
    """
    if not 1 <= count < len(points):
        raise InputError(f"expected more than {count} pictures to find {count} neighbours of each, got {len(points)}")
    unit = F.normalize(points.float(), dim=1)
    rows = max(1, _BLOCK // len(unit))
    indices, similarities = [], []
    for first in range(0, len(unit), rows):
        block = unit[first : first + rows] @ unit.T
        own = torch.arange(len(block))
        block[own, first + own] = -torch.inf
        nearest = block.topk(count, 1)
        indices.append(nearest.indices)
        similarities.append(nearest.values)
        if progress:
            progress(len(block))
    return Neighbours(torch.cat(indices), torch.cat(similarities))
