"""Pictures on their way to codes: the latents of level after level, each given the codes of the coarser ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch

from .config import ImageTokenizerConfig
from .networks import Encoder, LevelStep


class Encoding:
    """Latents coarse to fine; whoever asks decides what the code vectors of each level are.

    Args:
        encoder: the network.
        config: of its tokenizer.
        pixel_values: (B, C, H, W) in [-1, 1].

    Example:
        for codebook in codebooks:
            latents = encoding.next_latents()
            encoding.take(codebook.quantize(latents).quantized)
    """

    def __init__(self, encoder: Encoder, config: ImageTokenizerConfig, pixel_values: torch.Tensor):
        self._encoder, self._config = encoder, config
        self._grids = config.grids(*pixel_values.shape[-2:])
        self._features: Iterator[torch.Tensor] = iter(encoder.grid_features(pixel_values))
        self._level = 0
        self._context: torch.Tensor | None = None
        self._latents: torch.Tensor | None = None
        self._quantized: torch.Tensor | None = None

    def next_latents(self) -> torch.Tensor:
        """(B, D, h, w) of the next level."""
        level, quantized = self._level, self._quantized
        if 0 < level <= len(self._encoder.context):
            assert quantized is not None
            step = cast(LevelStep, self._encoder.context[level - 1])
            self._context = step(self._context, step.say(quantized, self._grids[level]))
        if self._config.is_residual(level):
            assert self._latents is not None and quantized is not None  # level 0 is never residual
            self._latents = self._latents - quantized.detach()
            return self._latents
        feature = next(self._features)
        known = feature if self._context is None else torch.cat([feature, self._context], 1)
        latents: torch.Tensor = self._encoder.to_latents[level](known)
        self._latents = latents
        return latents

    @property
    def context(self) -> torch.Tensor | None:
        """(B, hidden_size, h, w) what coarser codes have said, on the grid of the last latents; None at level 0."""
        return self._context

    def take(self, quantized: torch.Tensor) -> None:
        """(B, D, h, w) code vectors of the level whose latents were asked for last."""
        self._quantized = quantized
        self._level += 1
