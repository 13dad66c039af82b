"""The convolutional parts of the image tokenizer. All are local or pool over space, so any picture size works."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

_NUM_FREQUENCIES = 4


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each cell: (B, C, h, w) -> the same, independent of the picture's size."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        scale = torch.rsqrt(hidden.square().mean(1, keepdim=True) + 1e-6)
        return hidden * scale * self.weight[:, None, None]


class Pointwise(nn.Linear):
    """The same linear map in every cell: (B, C, h, w) -> (B, C', h, w).

    The weight is a matrix (C', C), as optimizers for matrices want it, not a 1x1 kernel.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        return F.conv2d(input, self.weight[:, :, None, None], self.bias)


class ResidualBlock(nn.Module):
    """Depthwise 3x3, then two pointwise layers (Liu et al. 2022, arXiv:2201.03545, section 2)."""

    def __init__(self, channels: int, expansion: int):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.norm = ChannelNorm(channels)
        self.expand = Pointwise(channels, expansion * channels)
        self.project = Pointwise(expansion * channels, channels)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        inner = self.norm(self.depthwise(hidden))
        return hidden + self.project(F.gelu(self.expand(inner)))


def blocks(channels: int, expansion: int, count: int) -> nn.Sequential:
    """`count` residual blocks in a row."""
    return nn.Sequential(*(ResidualBlock(channels, expansion) for _ in range(count)))


class Downsample(nn.Module):
    """Space to depth by an integer factor, then a pointwise layer: (B, C, f h, f w) -> (B, C', h, w)."""

    def __init__(self, in_channels: int, out_channels: int, factor: int):
        super().__init__()
        self.factor = factor
        self.project = Pointwise(in_channels * factor**2, out_channels)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, f h, f w) -> (B, C', h, w)."""
        return self.project(F.pixel_unshuffle(hidden, self.factor))


class Upsample(nn.Module):
    """A pointwise layer, then depth to space by an integer factor: (B, C, h, w) -> (B, C', f h, f w)."""

    def __init__(self, in_channels: int, out_channels: int, factor: int):
        super().__init__()
        self.factor = factor
        self.project = Pointwise(in_channels, out_channels * factor**2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', f h, f w)."""
        return F.pixel_shuffle(self.project(hidden), self.factor)


def coordinate_features(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of each cell's place in the picture, from 0 at one edge to 1 at the other whatever the size.

    Returns:
        (1, 4 * _NUM_FREQUENCIES, height, width), dtype and device of `like`.
    """
    frequencies = math.pi * 2.0 ** torch.arange(_NUM_FREQUENCIES, device=like.device, dtype=like.dtype)
    features = []
    for axis, count in enumerate((height, width)):
        place = (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count
        angles = frequencies[:, None] * place  # (F, count)
        waves = torch.cat([angles.sin(), angles.cos()])  # (2F, count)
        waves = waves[:, :, None] if axis == 0 else waves[:, None, :]
        features.append(waves.expand(-1, height, width))
    return torch.cat(features)[None]


class ImagePool(nn.Module):
    """Features of the coarsest grid -> one vector for the whole image: (B, C, h, w) -> (B, C, 1, 1).

    Each cell is transformed together with its place before the mean, or the mean would forget the layout.
    """

    def __init__(self, channels: int, expansion: int):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.expand = Pointwise(channels + 4 * _NUM_FREQUENCIES, expansion * channels)
        self.place = Pointwise(4 * _NUM_FREQUENCIES, expansion * channels)
        self.project = Pointwise(expansion * channels, channels)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, 1, 1)."""
        where = coordinate_features(*hidden.shape[-2:], like=hidden)
        inner = self.expand(torch.cat([self.norm(hidden), where.expand(len(hidden), -1, -1, -1)], 1))
        weighted = F.gelu(inner) * self.place(where)
        return self.project(weighted.mean((2, 3), keepdim=True))


class ImageBroadcast(nn.Module):
    """One vector for the whole image -> features on a grid: (B, D, 1, 1) -> (B, C, h, w).

    A small network of the vector and the place in the picture: it draws the prototype the whole-image code stands for.
    """

    def __init__(self, in_channels: int, channels: int, expansion: int):
        super().__init__()
        self.vector = Pointwise(in_channels, expansion * channels)
        self.place = Pointwise(4 * _NUM_FREQUENCIES, expansion * channels)
        self.project = Pointwise(expansion * channels, channels)

    def forward(self, vector: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, D, 1, 1) -> (B, C, h, w) for `grid` = (h, w)."""
        where = self.place(coordinate_features(*grid, like=vector))
        return self.project(F.gelu(self.vector(vector) + where))


def cached_parts(pixel_values: torch.Tensor, num_pixels: int) -> tuple[torch.Tensor, ...]:
    """(B, C, H, W) -> a few pictures at a time on a CPU, at least one; all of them at once elsewhere.

    Features that a processor's caches do not hold are read from memory by every layer, and fresh memory for large ones
    is asked of the system again and again: pictures of 256x256 are encoded half as fast in one batch of 32 as in eight.
    """
    if pixel_values.device.type != "cpu":
        return (pixel_values,)
    return pixel_values.split(max(1, num_pixels // (pixel_values.shape[-2] * pixel_values.shape[-1])))
