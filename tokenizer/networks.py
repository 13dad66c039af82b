"""The networks of the image tokenizer: pixels to features, what coarser codes have said, code vectors to pixels."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from .config import ImageTokenizerConfig
from .layers import ChannelNorm, Downsample, ImageBroadcast, ImagePool, Pointwise, Upsample, blocks


class Features(nn.Module):
    """Pixels -> features on every grid there is: computed fine to coarse, returned coarse to fine.

    Args:
        config: of the tokenizer.
        has_pool: with features of the whole image, before all others.
    """

    def __init__(self, config: ImageTokenizerConfig, has_pool: bool):
        super().__init__()
        width, expansion = config.hidden_size, config.expansion
        self.stem = nn.Sequential(
            Downsample(config.num_channels, width, config.patch_size), blocks(width, expansion, config.num_blocks)
        )
        fine_to_coarse = [config.patch_size, *sorted(set(config.spatial_strides))]  # residual levels share a grid
        self.downs = nn.ModuleList(
            nn.Sequential(Downsample(width, width, coarse // fine), blocks(width, expansion, config.num_blocks))
            for fine, coarse in itertools.pairwise(fine_to_coarse)
        )
        self.pool = ImagePool(width, expansion) if has_pool else None

    def forward(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """(B, C, H, W) -> one (B, hidden_size, h, w) per grid."""
        hidden = self.stem(pixel_values)
        features = []
        for down in self.downs:
            hidden = down(hidden)
            features.insert(0, hidden)
        if self.pool is not None:
            features.insert(0, self.pool(hidden))
        return features


class LevelStep(nn.Module):
    """One step from coarse to fine: what has been said so far and this level's codes -> features on the next grid.

    A chain of these serves twice with separate weights: as the encoder's context (what the coarser codes have said
    already) and as the body of the decoder. Separate, so that a decoder can be trained on without changing a single
    code. A level whose residual the next one quantizes stays on its grid and only adds what it says.
    """

    def __init__(self, config: ImageTokenizerConfig, level: int, dim: int, factor: int | None):
        super().__init__()
        width = config.hidden_size
        self.is_image_level = config.has_image_level and level == 0
        self.stays = factor is None
        if self.is_image_level:
            self.broadcast = ImageBroadcast(dim, width, config.expansion)
            return
        self.read = Pointwise(dim, width)
        if factor is not None:
            self.body = blocks(width, config.expansion, config.num_blocks)
            self.up = Upsample(width, width, factor)

    def say(self, vectors: torch.Tensor, next_grid: tuple[int, int]) -> torch.Tensor:
        """(B, D, h_l, w_l) code vectors -> (B, C, h, w) features; a whole-image code speaks on `next_grid` at once."""
        vectors = vectors.to(next(self.parameters()).dtype)  # quantizers may speak float32 whatever the weights are
        return self.broadcast(vectors, next_grid) if self.is_image_level else self.read(vectors)

    def forward(self, hidden: torch.Tensor | None, said: torch.Tensor) -> torch.Tensor:
        """Features so far (None at level 0) and what this level says -> (B, C, h, w) on the next grid."""
        hidden = said if hidden is None else hidden + said
        return hidden if self.is_image_level or self.stays else self.up(self.body(hidden))


def level_steps(config: ImageTokenizerConfig, dims: Sequence[int], last_stride: int) -> nn.ModuleList:
    """One `LevelStep` per level; the last one ends on the grid of `last_stride` pixels per cell."""
    strides = [*config.spatial_strides, last_stride]
    factors = [coarse // fine for coarse, fine in itertools.pairwise(strides)]
    factors = [1, *factors] if config.has_image_level else factors
    return nn.ModuleList(
        LevelStep(config, level, dims[level], None if is_followed_by_residual(config, level) else factor)
        for level, factor in enumerate(factors)
    )


def is_followed_by_residual(config: ImageTokenizerConfig, level: int) -> bool:
    """Whether the next level quantizes what this one leaves over."""
    return level + 1 < config.num_levels and config.is_residual(level + 1)


class Encoder(nn.Module):
    """Everything that decides codes, but the codebooks: features fine to coarse, then latents coarse to fine."""

    def __init__(self, config: ImageTokenizerConfig, dims: Sequence[int]):
        super().__init__()
        own = config.own_image_features
        self.features = Features(config, has_pool=config.has_image_level and not own)
        self.image_features = Features(config, has_pool=True) if own else None
        # What the codes so far say is read by every later level but residual ones, so trailing ones need no step.
        last = max(level for level in range(config.num_levels) if not config.is_residual(level))
        self.context = level_steps(config, dims, config.spatial_strides[-1])[:last]
        self.to_latents = nn.ModuleList(
            nn.Identity()  # its latents are what the level before it leaves over
            if config.is_residual(level)
            else Pointwise(config.hidden_size * (1 if level == 0 else 2), dims[level])
            for level in range(config.num_levels)
        )

    def grid_features(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """(B, C, H, W) -> one (B, hidden_size, h, w) per grid, coarse to fine, the whole image's first."""
        features = self.features(pixel_values)
        return features if self.image_features is None else [self.image_features(pixel_values)[0], *features]


class Decoder(nn.Module):
    """Code vectors of all levels -> pixels."""

    def __init__(self, config: ImageTokenizerConfig, dims: Sequence[int]):
        super().__init__()
        self.steps = level_steps(config, dims, config.patch_size)
        # What a level says that is left out: a learned vector, since zeros could also be a code's vector.
        self.absent = nn.ParameterList(torch.zeros(config.hidden_size) for _ in range(config.num_levels - 1))
        self.body = blocks(config.hidden_size, config.expansion, config.num_blocks)
        self.head = nn.Sequential(
            ChannelNorm(config.hidden_size), Upsample(config.hidden_size, config.num_channels, config.patch_size)
        )

    def forward(self, vectors: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """One (B, D, h_l, w_l) per level, and how many coarse levels to use -> (B, C, H, W)."""
        hidden = None
        for level, step in enumerate(self.steps):
            if level < num_levels:
                said = cast(LevelStep, step).say(vectors[level], next_grid(vectors, level))
            else:
                said = self.absent[level - 1][:, None, None]
            hidden = step(hidden, said)
        return self.head(self.body(hidden))


def next_grid(grids: Sequence[torch.Tensor], level: int) -> tuple[int, int]:
    """Rows and columns of the level after `level`, or of the last one."""
    height, width = grids[min(level + 1, len(grids) - 1)].shape[-2:]
    return height, width
