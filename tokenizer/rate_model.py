"""What codes cost while a tokenizer learns: chances of each code given the coarser levels and the codes around it.

A small network stands in for the prior that is trained later. It sees what the codes of coarser levels have said so
far, and the vectors of the twelve codes before a place in a 3x5 window, so it knows about what a prior knows. Its bits
bias the choice of codes (entropy-constrained quantization, Chou, Lookabaugh and Gray 1989), and through soft choices
they pull latents towards cheap codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from .code_usage import Revival
from .config import ImageTokenizerConfig
from .layers import Pointwise
from .quantizer import channels_last

_ROWS, _COLUMNS = 3, 5
"""The window of known codes: its last row ends before the place itself, which is in the middle."""

SOFT_SHARE = 1 / 3
"""What a bit of soft choices counts, of the rate weight: they fall faster than those of the codes that are chosen. At
full weight trainings gave up 2 to 4 times as much error for a bit as it was worth; see docs/log.md."""

PIXEL_UNIT = 127.5
"""Steps of 0 to 255 in one unit of [-1, 1]."""


def squared_error_unit(pixel_values: torch.Tensor) -> float:
    """The share of the mean squared error in [-1, 1] that a squared error of 1, of pixels of 0 to 255, is in a picture.

    Args:
        pixel_values: (B, C, H, W).
    """
    return 1 / (PIXEL_UNIT**2 * pixel_values[0].numel())


class RateModel(nn.Module):
    """Chances of the codes of all levels.

    Args:
        config: of the tokenizer.
        dims: channels of the code vectors of each level.
    """

    def __init__(self, config: ImageTokenizerConfig, dims: Sequence[int]):
        super().__init__()
        # Only levels that are not residual, and those behind them, see what coarser ones said.
        has_context = any(not config.is_residual(level) for level in range(1, config.num_levels))
        self.levels = nn.ModuleList(
            LevelRate(
                config.codebook_sizes[level],
                dim,
                config.hidden_size,
                has_context=has_context and level > 0,
                has_neighbours=not (level == 0 and config.has_image_level),
            )
            for level, dim in enumerate(dims)
        )
        self.warmth: float = 1.0
        """Share of the rate weight that counts: less than 1 while a training warms up."""
        self.register_buffer("scales", torch.ones(len(dims)))
        self.scales: torch.Tensor
        """(L,) squared pixel error per squared latent error; see `distortion_scales`."""

    def reset(self) -> None:
        """The values before training: all codes of a level are equally likely but for what the network says."""
        init.ones_(self.scales)
        for level in self.levels:
            init.zeros_(cast(LevelRate, level).bias)

    def bits(self, level: int, context: torch.Tensor | None, vectors: torch.Tensor) -> torch.Tensor:
        """(B * h * w, K) bits of each code of a level; arguments as for `LevelRate`, which get no gradient."""
        network = cast(LevelRate, self.levels[level])
        known = None if context is None else context.detach().to(network.bias.dtype)
        logits: torch.Tensor = network(known, vectors.detach().to(network.bias.dtype))
        return code_bits(logits)

    def split(self, level: int, revival: Revival) -> None:
        """Codes that start anew share the chances of those they start beside; see `LevelRate.split`."""
        cast(LevelRate, self.levels[level]).split(revival)


class LevelRate(nn.Module):
    """Chances of one level's codes.

    Args:
        codebook_size: K.
        dim: D, channels of the code vectors.
        width: channels inside, and of what coarser levels said.
        has_context: there are coarser levels.
        has_neighbours: the level has more than one code a picture.
    """

    def __init__(self, codebook_size: int, dim: int, width: int, *, has_context: bool, has_neighbours: bool):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(codebook_size))
        self.context = Pointwise(width, width) if has_context else None
        self.neighbours = nn.Conv2d(dim, width, (_ROWS, _COLUMNS)) if has_neighbours else None
        self.out = Pointwise(width, codebook_size) if has_context or has_neighbours else None

    def forward(self, context: torch.Tensor | None, vectors: torch.Tensor) -> torch.Tensor:
        """Logits of all codes.

        Args:
            context: (B, width, h, w) what coarser levels said; None at the first level.
            vectors: (B, D, h, w) code vectors of this level; each place sees those before it only.

        Returns:
            (B, K, h, w).
        """
        hidden = torch.zeros((), device=vectors.device)
        if self.context is not None:
            assert context is not None
            hidden = hidden + self.context(context)
        if self.neighbours is not None:
            margin = _COLUMNS // 2
            mask = vectors.new_ones(_ROWS, _COLUMNS)
            mask[-1, margin:] = 0
            padded = F.pad(vectors, (margin, margin, _ROWS - 1, 0))
            hidden = hidden + F.conv2d(padded, self.neighbours.weight * mask, self.neighbours.bias)
        logits = self.bias[:, None, None].expand(len(vectors), -1, *vectors.shape[-2:])
        return logits if self.out is None else logits + self.out(F.gelu(hidden))

    @torch.no_grad()
    def split(self, revival: Revival) -> None:
        """Halves the chances of each busy code, everywhere, and gives the other half to the code put beside it.

        With the chances it had when it fell out of use, a revived code would cost too much ever to be chosen.
        """
        dead, busy = revival.dead, revival.busy
        self.bias[busy] -= math.log(2)
        self.bias[dead] = self.bias[busy]
        if self.out is not None:
            for rows in self.out.parameters():  # (K, width) and perhaps (K,)
                rows[dead] = rows[busy]


def code_bits(logits: torch.Tensor) -> torch.Tensor:
    """(B, K, h, w) logits -> (B * h * w, K) bits of each code."""
    return channels_last(F.log_softmax(logits.float(), 1)) / -math.log(2)


def soft_bits(
    latents: torch.Tensor, table: torch.Tensor, bits: torch.Tensor, scale: float, rate_weight: float
) -> torch.Tensor:
    """Expected bits a picture if codes were drawn with chances that fall with their cost.

    The temperature is the mean cost of the cheapest codes, so the draw stays about as soft whatever the latents' scale.

    Args:
        latents: (B, D, h, w), with gradient.
        table: (K, D) code vectors.
        bits: (B * h * w, K) of each code, without gradient.
        scale: squared pixel error per squared latent error.
        rate_weight: squared pixel error that a bit is worth.

    Returns:
        Scalar.
    """
    # In float32 and around the vectors' mean, as in the search for the nearest: else small differences drown.
    with torch.autocast(latents.device.type, enabled=False):
        centre = table.mean(0)
        points, table = channels_last(latents).float() - centre, table - centre  # (N, D), (K, D)
        distances = points.square().sum(1, keepdim=True) - 2 * points @ table.T + table.square().sum(1)
        costs = scale * distances + rate_weight * bits
        temperature = costs.detach().amin(1).mean().clamp(min=1e-9)
        return (torch.softmax(-costs / temperature, 1) * bits).sum() / len(latents)
