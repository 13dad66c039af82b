"""Two-level VQ-VAE-2 checkpoints in the layout of the well-known PyTorch port (Razavi et al. 2019, arXiv:1906.00446).

Pixels (B, 3, H, W) in [-1, 1]; level 0 (top) has one code per 8x8 pixels, level 1 (bottom) one per 4x4. The top code
vectors are decoded to condition the bottom encoder, and both grids of vectors go into the picture.

A checkpoint was never trained to make pictures of its top level alone: with `num_levels=1` the bottom vectors are
zeros, which shows where the colours are but not a picture that the model was meant to draw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..hub.errors import InputError
from .interface import ImageCodes
from .layers import cached_parts
from .layout import LayoutShape, TokenizerLayout, as_json, read_settings
from .quantizer import channels_last, nearest

_CACHED_PIXELS = 1 << 18
"""Most pixels encoded at once on a processor: the features of four pictures of 256x256 stay near its cores."""


@dataclasses.dataclass(frozen=True)
class VQVAE2Settings:
    """Sizes of the network, by the names of the port.

    Attributes:
        in_channel: colour channels.
        channel: feature channels, an even number.
        n_res_block: residual blocks of every encoder and decoder.
        n_res_channel: channels inside a residual block.
        embed_dim: length D of a code's vector.
        n_embed: codes K of each level.
    """

    in_channel: int = 3
    channel: int = 128
    n_res_block: int = 2
    n_res_channel: int = 32
    embed_dim: int = 64
    n_embed: int = 512


class ResidualBlock(nn.Module):
    """ReLU, 3x3, ReLU, 1x1, added to the input: (B, C, h, w) -> the same."""

    def __init__(self, channels: int, inner_channels: int):
        super().__init__()
        self.conv = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, inner_channels, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner_channels, channels, 1),
        )

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        return self.conv(hidden).add_(hidden)


class Stack(nn.Module):
    """Layers in a row, under the name `blocks`."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.blocks = nn.Sequential(*layers)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h', w')."""
        return self.blocks(hidden)


class Codebook(nn.Module):
    """K vectors of length D, stored as columns, with the running statistics that only training would need."""

    def __init__(self, dim: int, size: int):
        super().__init__()
        self.register_buffer("embed", torch.zeros(dim, size))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("embed_avg", torch.zeros(dim, size))
        self.embed: torch.Tensor

    def nearest(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, D, h, w) -> (B, h, w) int64 codes; the lowest one wins a tie."""
        # Not around the codebook's mean: this port's unused codes end up to 1e5 away and would drag the mean along.
        codes = nearest(channels_last(latents), self.embed.T, centred=False)
        return codes.view(len(latents), *latents.shape[2:])

    def vectors(self, codes: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w)."""
        return F.embedding(codes, self.embed.T).permute(0, 3, 1, 2)


class VQVAE2Layout(TokenizerLayout):
    """The port's network under its tensor names: `enc_b`, `quantize_conv_t`, `quantize_t`, `dec_t`, `dec`, ..."""

    codes_names = (
        "enc_b.", "enc_t.", "quantize_conv_t.", "quantize_t.embed", "dec_t.", "quantize_conv_b.", "quantize_b.embed",
    )  # fmt: skip
    picture_names = ("quantize_t.embed", "quantize_b.embed", "upsample_t.", "dec.")
    anchor = "quantize_t.embed"

    def __init__(self, settings: Mapping[str, Any]):
        super().__init__()
        sizes = read_settings(VQVAE2Settings, settings)
        width, dim = sizes.channel, sizes.embed_dim
        self.enc_b = _encoder(sizes.in_channel, sizes, halvings=2)
        self.enc_t = _encoder(width, sizes, halvings=1)
        self.quantize_conv_t = nn.Conv2d(width, dim, 1)
        self.quantize_t = Codebook(dim, sizes.n_embed)
        self.dec_t = _decoder(dim, dim, sizes, doublings=1)
        self.quantize_conv_b = nn.Conv2d(dim + width, dim, 1)
        self.quantize_b = Codebook(dim, sizes.n_embed)
        self.upsample_t = nn.ConvTranspose2d(dim, dim, 4, stride=2, padding=1)
        self.dec = _decoder(2 * dim, sizes.in_channel, sizes, doublings=2)

    @classmethod
    def complete(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with the defaults filled in; InputError for an unknown name or an odd `channel`."""
        sizes = read_settings(VQVAE2Settings, settings)
        if sizes.channel % 2:
            raise InputError(f"setting channel must be an even number, got {sizes.channel}")
        return as_json(sizes)

    @classmethod
    def shape(cls, settings: dict[str, Any]) -> LayoutShape:
        """Two levels, 8 and 4 pixels per code."""
        sizes = read_settings(VQVAE2Settings, settings)
        return LayoutShape([8, 4], [sizes.n_embed] * 2, sizes.in_channel)

    @classmethod
    def infer(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """All settings, from the shapes of five tensors and the number of residual blocks."""
        names = ("enc_b.blocks.0.weight", "enc_b.blocks.2.weight", "enc_b.blocks.5.conv.1.weight", "quantize_t.embed")
        missing = [name for name in names if name not in weights]
        if missing:
            raise InputError(f"the weights are not of layout vqvae2: {missing[0]} is missing")
        first, second, residual, codebook = (weights[name].shape for name in names)
        blocks = [name for name in weights if name.startswith("enc_b.") and name.endswith(".conv.1.weight")]
        return {
            "in_channel": first[1],
            "channel": second[0],
            "n_res_block": len(blocks),
            "n_res_channel": residual[0],
            "embed_dim": codebook[0],
            "n_embed": codebook[1],
        }

    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """(B, C, H, W) -> top codes (B, H/8, W/8) and bottom codes (B, H/4, W/4)."""
        parts = cached_parts(pixel_values, _CACHED_PIXELS)
        top, bottom = zip(*(self._encode(part) for part in parts), strict=True)
        return torch.cat(top), torch.cat(bottom)

    def _encode(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # Channels last, as oneDNN's convolutions are fastest and the search reads its points.
        fine = self.enc_b(pixel_values.contiguous(memory_format=torch.channels_last))
        top = self.quantize_t.nearest(self.quantize_conv_t(self.enc_t(fine)))
        said = self.dec_t(self.quantize_t.vectors(top))
        # One product each instead of one of both together, which would have to be copied side by side.
        weight, bias = self.quantize_conv_b.weight, self.quantize_conv_b.bias
        of_said, of_fine = weight.split([said.shape[1], fine.shape[1]], 1)
        latents = F.conv2d(fine, of_fine, bias) + F.conv2d(said, of_said)
        return top, self.quantize_b.nearest(latents)

    def decode(self, codes: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """Top and bottom codes -> (B, C, H, W); with `num_levels` 1 the bottom vectors are zeros."""
        top, bottom = self.quantize_t.vectors(codes[0]), self.quantize_b.vectors(codes[1])
        bottom = bottom if num_levels == 2 else torch.zeros_like(bottom)
        return self.dec(torch.cat([self.upsample_t(top), bottom], 1))

    def vectors(self, level: int) -> torch.Tensor:
        """(n_embed, embed_dim) of level 0 (top) or 1 (bottom)."""
        return (self.quantize_t, self.quantize_b)[level].embed.T


def _encoder(in_channels: int, sizes: VQVAE2Settings, halvings: int) -> Stack:
    """(B, in_channels, h, w) -> (B, channel, h / 2^halvings, w / 2^halvings)."""
    width = sizes.channel
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width // 2, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
    for _ in range(halvings - 1):
        layers += [nn.Conv2d(width // 2, width, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
    layers.append(nn.Conv2d(width if halvings > 1 else width // 2, width, 3, padding=1))
    return Stack(*layers, *_residual(sizes), nn.ReLU(inplace=True))


def _decoder(in_channels: int, out_channels: int, sizes: VQVAE2Settings, doublings: int) -> Stack:
    """(B, in_channels, h, w) -> (B, out_channels, 2^doublings h, 2^doublings w)."""
    width = sizes.channel
    layers: list[nn.Module] = [nn.Conv2d(in_channels, width, 3, padding=1), *_residual(sizes), nn.ReLU(inplace=True)]
    for _ in range(doublings - 1):
        layers += [nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1), nn.ReLU(inplace=True)]
    width = width // 2 if doublings > 1 else width
    return Stack(*layers, nn.ConvTranspose2d(width, out_channels, 4, stride=2, padding=1))


def _residual(sizes: VQVAE2Settings) -> list[ResidualBlock]:
    return [ResidualBlock(sizes.channel, sizes.n_res_channel) for _ in range(sizes.n_res_block)]
