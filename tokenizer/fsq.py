"""Finite scalar quantization: each of a few channels is rounded to one of a few levels; no codebook to learn.

Mentzer et al. 2023 (arXiv:2309.15505). The K vectors are the points of a fixed grid, so nothing can collapse, and
nothing can grow: codes cannot be added, forbidden or made more expensive.
"""

from __future__ import annotations

import math

import torch
from transformers import initialization as init

from ..hub.errors import InputError
from .quantizer import Quantized, Quantizer

_BEST_FACTOR = 8
"""Levels per channel aimed at; the paper finds 5 to 8 to be best (section 4.1)."""


def channel_levels(codebook_size: int) -> list[int]:
    """Levels per channel whose product is `codebook_size`, each 3 to 16, as near 8 as can be, the largest first.

    Raises:
        InputError: the size has no such factors.

    Example:
        >>> channel_levels(256), channel_levels(240), channel_levels(1000)
        ([8, 8, 4], [8, 6, 5], [10, 10, 10])
    """
    best = _factors(codebook_size, 16)
    if not best:  # of size 1, no factor at all
        raise InputError(
            f"an FSQ codebook size must be a product of numbers 3 to 16, such as 64, 240 or 1000, got {codebook_size}"
        )
    return best


def _factors(size: int, largest: int) -> list[int] | None:
    """The factors of `size`, none above `largest`, with the least deviation from `_BEST_FACTOR`."""
    if size == 1:
        return []
    found = []
    for factor in range(min(largest, size), 2, -1):
        rest = _factors(size // factor, factor) if size % factor == 0 else None
        if rest is not None:
            found.append([factor, *rest])
    return min(found, key=lambda factors: sum(abs(math.log(f / _BEST_FACTOR)) for f in factors), default=None)


class FSQ(Quantizer):
    """A grid of K points: channel i takes `levels[i]` values, evenly spread over [-1, 1].

    Args:
        codebook_size: K, a product of numbers 3 to 16; the channels follow from it.
        gradient: only "straight_through": the grid has no one direction to rotate by.
    """

    def __init__(self, codebook_size: int, *, gradient: str = "straight_through"):
        levels = channel_levels(codebook_size)
        super().__init__(codebook_size, len(levels), gradient)
        self.register_buffer("levels", torch.tensor(levels), persistent=False)  # (D,)
        strides = [math.prod(levels[:channel]) for channel in range(len(levels))]
        self.register_buffer("strides", torch.tensor(strides), persistent=False)  # (D,)
        self.levels: torch.Tensor
        self.strides: torch.Tensor

    @torch.no_grad()
    def reset(self) -> None:
        """Fills the constants in again, which a model loaded without its buffers lacks."""
        levels = channel_levels(self.codebook_size)
        init.copy_(self.levels, torch.tensor(levels))
        init.copy_(self.strides, torch.tensor([math.prod(levels[:channel]) for channel in range(len(levels))]))

    def quantize(
        self, latents: torch.Tensor, bias: torch.Tensor | None = None, allowed: torch.Tensor | None = None
    ) -> Quantized:
        """(B, D, h, w) latents of any range -> their codes; tanh bounds them, rounding has the identity's gradient."""
        refuse_table(bias, allowed, "FSQ")
        steps = (self.levels - 1).view(-1, 1, 1)
        with torch.autocast(latents.device.type, enabled=False):
            bounded = (self.compared(latents) + 1) / 2 * steps  # 0 .. levels - 1
        places = bounded.detach().round()
        indices = (places.long() * self.strides.view(-1, 1, 1)).sum(1)
        quantized = places / steps * 2 - 1
        through = quantized + ((bounded - bounded.detach()) / steps * 2)
        return Quantized(through, indices, latents.detach(), commitment_loss=quantized.new_zeros(()))

    def compared(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents in [-1, 1], as the vectors are."""
        return latents.float().tanh()

    def vectors(self, indices: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w) float32 vectors in [-1, 1]."""
        places = indices.unsqueeze(1) // self.strides.view(-1, 1, 1) % self.levels.view(-1, 1, 1)
        return places / (self.levels - 1).view(-1, 1, 1) * 2 - 1


def refuse_table(bias: torch.Tensor | None, allowed: torch.Tensor | None, name: str) -> None:
    """Fixed grids have no table of vectors that could grow, shrink or be weighed.

    Raises:
        InputError: a bias or a mask was given.
    """
    if bias is not None or allowed is not None:
        raise InputError(
            f"{name} has no codebook: its codes cannot be biased, restricted or grown; use an EMA codebook"
        )
