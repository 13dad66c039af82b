"""Generator and discriminator of a class-conditional GAN for grey pictures of 28x28, in BigGAN's manner.

Residual blocks; class-conditional batch norm fed by one embedding of the class and a part of z of its own for every
block (Brock et al. 2019, arXiv:1809.11096); spectral norm in the discriminator (Miyato et al. 2018, arXiv:1802.05957),
whose class enters as an inner product (Miyato & Koyama 2018, arXiv:1802.05637). Weights start orthogonal.

Most channels are at 7x7 and few at 28x28, and a 3x3 convolution beside a doubling or halving is computed as the 4x4
convolution of stride 2 that it equals: 4/9 of the products, so that a step is cheap on a processor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

BASE = 7
"""Height and width of the generator's first grid, pixels."""


class Block(NamedTuple):
    """A residual block.

    Attributes:
        hidden: channels between its two convolutions.
        outer: channels behind them.
        resamples: whether the generator doubles its grid there, or the discriminator halves it.
    """

    hidden: int
    outer: int
    resamples: bool


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of both networks.

    Attributes:
        num_classes: of the pictures.
        latent_dim: numbers of z, a multiple of one more than the generator's blocks.
        class_dim: numbers of the generator's embedding of a class.
        base: channels of the generator's first grid.
        generator: its blocks, from 7x7 to 28x28.
        discriminator: its blocks, from 28x28 down.
    """

    num_classes: int
    latent_dim: int = 192
    class_dim: int = 64
    base: int = 192
    generator: tuple[Block, ...] = (Block(64, 192, False), Block(48, 48, True), Block(16, 32, True))
    discriminator: tuple[Block, ...] = (
        Block(16, 16, True),
        Block(32, 64, True),
        Block(64, 128, True),
        Block(128, 128, False),
    )

    @property
    def chunk_dim(self) -> int:
        """Numbers of z that the first grid and every block get."""
        return self.latent_dim // (len(self.generator) + 1)


def doubled_kernel(kernel: torch.Tensor) -> torch.Tensor:
    """(..., 3, 3) -> (..., 4, 4): the sum of the kernel at the four places of a square of 2x2."""
    return sum((F.pad(kernel, (x, 1 - x, y, 1 - y)) for x in (0, 1) for y in (0, 1)), torch.zeros(()))


def convolve_doubled(hidden: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """A 3x3 convolution of a grid whose every value was repeated as 2x2: (B, C, h, w) -> (B, C', 2h, 2w)."""
    turned = doubled_kernel(kernel.flip(2, 3)).transpose(0, 1)  # a transposed convolution reads its kernel backwards
    turned = turned.contiguous(memory_format=torch.channels_last)
    return F.conv_transpose2d(hidden, turned, bias, stride=2, padding=1)


def convolve_halved(hidden: torch.Tensor, kernel: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The means over 2x2 of a 3x3 convolution: (B, C, h, w) -> (B, C', h // 2, w // 2)."""
    return F.conv2d(hidden, doubled_kernel(kernel) / 4, bias, stride=2, padding=1)


class ConditionalNorm(nn.Module):
    """Batch norm whose gains and biases are linear in a condition."""

    def __init__(self, channels: int, condition_dim: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False, momentum=None)  # None: statistics are plain means
        self.affine = nn.Linear(condition_dim, 2 * channels, bias=False)

    def forward(self, hidden: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w), (B, D) -> (B, C, h, w)."""
        gain, bias = self.affine(condition)[:, :, None, None].chunk(2, 1)
        return torch.addcmul(bias, self.norm(hidden), 1 + gain)


class GeneratorBlock(nn.Module):
    """Norm, ReLU, 3x3, twice, added to the input; the first convolution reads the doubled grid."""

    def __init__(self, channels: int, block: Block, condition_dim: int):
        super().__init__()
        self.doubles = block.resamples
        self.norm1 = ConditionalNorm(channels, condition_dim)
        self.conv1 = nn.Conv2d(channels, block.hidden, 3, padding=1)
        self.norm2 = ConditionalNorm(block.hidden, condition_dim)
        self.conv2 = nn.Conv2d(block.hidden, block.outer, 3, padding=1)
        self.skip = nn.Conv2d(channels, block.outer, 1) if channels != block.outer else nn.Identity()

    def forward(self, hidden: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w), (B, D) -> (B, C', h, w) or (B, C', 2h, 2w)."""
        inner, skip = F.relu(self.norm1(hidden, condition)), self.skip(hidden)
        if self.doubles:
            inner = convolve_doubled(inner, self.conv1.weight, self.conv1.bias)
            skip = F.interpolate(skip, scale_factor=2)  # behind the 1x1 convolution, which is the same and cheaper
        else:
            inner = self.conv1(inner)
        return skip + self.conv2(F.relu(self.norm2(inner, condition)))


class Generator(nn.Module):
    """z and a class -> a picture."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        self.config = config
        condition_dim = config.chunk_dim + config.class_dim
        self.embedding = nn.Embedding(config.num_classes, config.class_dim)
        self.first = nn.Linear(condition_dim, BASE * BASE * config.base)
        widths = (config.base, *(block.outer for block in config.generator))
        blocks = [
            GeneratorBlock(width, block, condition_dim)
            for width, block in zip(widths, config.generator, strict=False)  # the last width is that of the pixels
        ]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(widths[-1], momentum=None)
        self.pixels = nn.Conv2d(widths[-1], 1, 3, padding=1)
        _start_orthogonal(self)

    def forward(self, latents: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """(B, latent_dim) from N(0, 1), (B,) int64 -> (B, 1, 28, 28) in [-1, 1]."""
        embedded = self.embedding(classes)
        first, *others = (torch.cat([chunk, embedded], 1) for chunk in latents.split(self.config.chunk_dim, 1))
        # Channels last, as the convolutions are fastest.
        hidden = self.first(first).view(-1, BASE, BASE, self.config.base).permute(0, 3, 1, 2)
        for block, condition in zip(self.blocks, others, strict=True):
            hidden = block(hidden, condition)
        return torch.tanh(self.pixels(F.relu(self.norm(hidden))))


class DiscriminatorBlock(nn.Module):
    """ReLU, 3x3, twice, added to the input; means over 2x2 of both. The block that reads pixels has no first ReLU."""

    def __init__(self, channels: int, block: Block, reads_pixels: bool):
        super().__init__()
        self.reads_pixels, self.halves = reads_pixels, block.resamples
        self.conv1 = _normed(channels, block.hidden, 3)
        self.conv2 = _normed(block.hidden, block.outer, 3)
        self.skip = _normed(channels, block.outer, 1) if channels != block.outer else nn.Identity()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h, w) or (B, C', h // 2, w // 2)."""
        inner = F.relu(self.conv1(hidden if self.reads_pixels else F.relu(hidden)))
        if not self.halves:
            return self.skip(hidden) + self.conv2(inner)
        return self.skip(F.avg_pool2d(hidden, 2)) + convolve_halved(inner, self.conv2.weight, self.conv2.bias)


class Discriminator(nn.Module):
    """A picture and a class -> how real the picture is as one of that class."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        widths = (1, *(block.outer for block in config.discriminator))
        blocks = [
            DiscriminatorBlock(width, block, reads_pixels=width == 1)
            for width, block in zip(widths, config.discriminator, strict=False)
        ]
        self.blocks = nn.Sequential(*blocks)
        self.score = spectral_norm(nn.Linear(widths[-1], 1))
        self.embedding = spectral_norm(nn.Embedding(config.num_classes, widths[-1]))
        _start_orthogonal(self)

    def forward(self, pixels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        """(B, 1, 28, 28) in [-1, 1], (B,) int64 -> (B,): a logit without the class and the class's inner product."""
        features = F.relu(self.blocks(pixels)).sum((2, 3))
        return self.score(features).squeeze(1) + (self.embedding(classes) * features).sum(1)


def count_parameters(model: nn.Module) -> int:
    """Numbers that the model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


def _normed(channels: int, outer: int, kernel: int) -> nn.Conv2d:
    """A convolution whose kernel, as a matrix of `outer` rows, has the largest singular value 1."""
    convolution = nn.Conv2d(channels, outer, kernel, padding=kernel // 2)
    spectral_norm(convolution)
    return convolution


def _start_orthogonal(model: nn.Module) -> None:
    """Orthogonal matrices, also those below spectral norms, and convolutions' kernels laid out for speed.

    A class's embedding so has norm 1 and z's part about 7. As large as z, it lets Adam move all pictures of a class
    together faster than the discriminator follows: within 30 steps each class is nearly one picture.
    """
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.orthogonal_(parameter)
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
