"""Where a picture lies when it is padded to a fixed size: centred, whole, and never enlarged."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

Pixels = TypeVar("Pixels", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels.

    Attributes:
        top: rows above it.
        left: columns to its left.
        height: its rows.
        width: its columns.

    Example:
        >>> Box(top=1, left=0, height=2, width=3).of(torch.zeros(5, 4, 4)).shape
        torch.Size([5, 2, 3])
    """

    top: int
    left: int
    height: int
    width: int

    def of(self, pixels: Pixels) -> Pixels:
        """(..., H, W) -> (..., height, width): the part of the pixels inside the box, as a view."""
        return pixels[..., self.top : self.top + self.height, self.left : self.left + self.width]


def contained_box(height: int, width: int, target_height: int, target_width: int) -> Box:
    """Where a picture lies inside a target: at its own size if it fits, else shrunk in proportion until it does.

    It is centred; where the margin is odd, the surplus pixel is at the bottom or at the right.

    Args:
        height: of the picture, pixels.
        width: of the picture, pixels.
        target_height: of the padded result, pixels.
        target_width: of the padded result, pixels.

    Example:
        >>> contained_box(28, 28, 32, 32)
        Box(top=2, left=2, height=28, width=28)
        >>> contained_box(100, 50, 32, 32)
        Box(top=0, left=8, height=32, width=16)
    """
    scale = min(1.0, target_height / height, target_width / width)
    inner_height = min(target_height, max(1, math.floor(height * scale + 0.5)))
    inner_width = min(target_width, max(1, math.floor(width * scale + 0.5)))
    return Box((target_height - inner_height) // 2, (target_width - inner_width) // 2, inner_height, inner_width)
