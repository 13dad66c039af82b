"""VQ checkpoints in the layout of LlamaGen (Sun et al. 2024, arXiv:2406.06525, section 3.1) and of Janus' originals.

A convolutional autoencoder after Esser et al. 2021 (arXiv:2012.09841): residual blocks on every grid, attention on the
coarsest, and a codebook of short vectors, compared and decoded at length one (Yu et al. 2022, arXiv:2110.04627).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from ..hub.errors import InputError
from .interface import ImageCodes
from .layout import LayoutShape, TokenizerLayout, as_json, check_multipliers, read_settings
from .quantizer import channels_last, nearest

_GROUPS = 32


@dataclass(frozen=True)
class LlamaGenSettings:
    """Sizes of the network, by LlamaGen's names.

    Attributes:
        codebook_size: K.
        codebook_embed_dim: length D of a code's vector.
        codebook_l2_norm: whether vectors and latents are scaled to length one. Shapes do not tell.
        encoder_ch_mult: channels of the encoder's grids, fine to coarse, in units of `ch`; the grid halves between two.
        decoder_ch_mult: the same of the decoder, also fine to coarse.
        z_channels: channels between autoencoder and codebook.
        in_channels: colour channels.
        ch: unit of channels, a multiple of 32.
        num_res_blocks: residual blocks on every grid of the encoder; the decoder has one more.
    """

    codebook_size: int = 16384
    codebook_embed_dim: int = 8
    codebook_l2_norm: bool = True
    encoder_ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    decoder_ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    z_channels: int = 256
    in_channels: int = 3
    ch: int = 128
    num_res_blocks: int = 2


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS, channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Twice norm, SiLU, 3x3, added to the input, which a 1x1 layer brings to the new width where it changes."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm1 = _norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = _norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.nin_shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        inner = self.conv1(F.silu(self.norm1(hidden)))
        return self.nin_shortcut(hidden) + self.conv2(F.silu(self.norm2(inner)))


class Attention(nn.Module):
    """Every cell attends to every cell, one head, added to the input."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = _norm(channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        normed = self.norm(hidden)
        query, key, value = (layer(normed).flatten(2).transpose(1, 2) for layer in (self.q, self.k, self.v))
        seen = F.scaled_dot_product_attention(query, key, value)  # (B, h w, C)
        return hidden + self.proj_out(seen.transpose(1, 2).unflatten(2, hidden.shape[2:]))


class Downsample(nn.Module):
    """A 3x3 layer of stride 2, with one row and one column of zeros below and to the right."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, 2h, 2w) -> (B, C, h, w)."""
        return self.conv(F.pad(hidden, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Every cell four times, then a 3x3 layer."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C, 2h, 2w)."""
        return self.conv(F.interpolate(hidden, scale_factor=2.0, mode="nearest"))


class Grid(nn.Module):
    """The blocks of one grid, each with attention after it if the grid has attention, and the step to the next grid."""

    def __init__(self, in_channels: int, out_channels: int, count: int, has_attention: bool, step: type | None):
        super().__init__()
        widths = [in_channels, *[out_channels] * count]
        self.res = nn.ModuleList(ResidualBlock(*pair) for pair in itertools.pairwise(widths))
        self.attn = nn.ModuleList(Attention(out_channels) for _ in range(count if has_attention else 0))
        self.downsample = Downsample(out_channels) if step is Downsample else nn.Identity()
        self.upsample = Upsample(out_channels) if step is Upsample else nn.Identity()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h', w')."""
        for index, block in enumerate(self.res):
            hidden = block(hidden)
            if self.attn:
                hidden = self.attn[index](hidden)
        return self.upsample(self.downsample(hidden))


def _middle(channels: int) -> nn.ModuleList:
    return nn.ModuleList([ResidualBlock(channels, channels), Attention(channels), ResidualBlock(channels, channels)])


class Encoder(nn.Module):
    """Pixels -> (B, z_channels, h, w)."""

    def __init__(self, sizes: LlamaGenSettings):
        super().__init__()
        widths = [sizes.ch * factor for factor in (1, *sizes.encoder_ch_mult)]
        last = len(widths) - 2
        self.conv_in = nn.Conv2d(sizes.in_channels, sizes.ch, 3, padding=1)
        self.conv_blocks = nn.ModuleList(
            Grid(*pair, sizes.num_res_blocks, index == last, Downsample if index < last else None)
            for index, pair in enumerate(itertools.pairwise(widths))
        )
        self.mid = _middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], sizes.z_channels, 3, padding=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, z_channels, h, w)."""
        hidden = self.conv_in(hidden)
        for part in (*self.conv_blocks, *self.mid):
            hidden = part(hidden)
        return self.conv_out(F.silu(self.norm_out(hidden)))


class Decoder(nn.Module):
    """(B, z_channels, h, w) -> pixels."""

    def __init__(self, sizes: LlamaGenSettings):
        super().__init__()
        widths = [sizes.ch * factor for factor in reversed(sizes.decoder_ch_mult)]  # coarse to fine
        last = len(widths) - 1
        self.conv_in = nn.Conv2d(sizes.z_channels, widths[0], 3, padding=1)
        self.mid = _middle(widths[0])
        self.conv_blocks = nn.ModuleList(
            Grid(*pair, sizes.num_res_blocks + 1, index == 0, Upsample if index < last else None)
            for index, pair in enumerate(itertools.pairwise([widths[0], *widths]))
        )
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], sizes.in_channels, 3, padding=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, z_channels, h, w) -> (B, C, H, W)."""
        hidden = self.conv_in(hidden)
        for part in (*self.mid, *self.conv_blocks):
            hidden = part(hidden)
        return self.conv_out(F.silu(self.norm_out(hidden)))


class Codebook(nn.Module):
    """K vectors of length D."""

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.embedding = nn.Embedding(size, dim)


class LlamaGenLayout(TokenizerLayout):
    """LlamaGen's network under its tensor names: `encoder.conv_blocks`, `quantize.embedding`, `post_quant_conv`, ..."""

    codes_names = ("encoder.", "quantize.", "quant_conv.")
    picture_names = ("quantize.", "post_quant_conv.", "decoder.")
    training_only = ("quantize.codebook_used",)

    def __init__(self, settings: Mapping[str, Any]):
        super().__init__()
        sizes = read_settings(LlamaGenSettings, settings)
        self.is_normalised = sizes.codebook_l2_norm
        self.encoder = Encoder(sizes)
        self.quant_conv = nn.Conv2d(sizes.z_channels, sizes.codebook_embed_dim, 1)
        self.quantize = Codebook(sizes.codebook_size, sizes.codebook_embed_dim)
        self.post_quant_conv = nn.Conv2d(sizes.codebook_embed_dim, sizes.z_channels, 1)
        self.decoder = Decoder(sizes)

    @classmethod
    def complete(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with the defaults filled in; InputError for widths that do not fit together."""
        sizes = read_settings(LlamaGenSettings, settings)
        for name in ("encoder_ch_mult", "decoder_ch_mult"):
            check_multipliers(name, getattr(sizes, name))
        if len(sizes.encoder_ch_mult) != len(sizes.decoder_ch_mult):
            raise InputError("encoder_ch_mult and decoder_ch_mult must be of one length: a picture keeps its size")
        if sizes.ch % _GROUPS:
            raise InputError(f"setting ch must be a multiple of {_GROUPS}, got {sizes.ch}")
        return as_json(sizes)

    @classmethod
    def shape(cls, settings: dict[str, Any]) -> LayoutShape:
        """One level; every channel multiplier after the first halves the grid."""
        sizes = read_settings(LlamaGenSettings, settings)
        return LayoutShape([2 ** (len(sizes.encoder_ch_mult) - 1)], [sizes.codebook_size], sizes.in_channels)

    @classmethod
    def infer(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        """All settings but `codebook_l2_norm`, which published checkpoints have on.

        Raises:
            InputError: a tensor is missing.
        """

        def rows(name: str) -> int:
            return _weight(weights, name).shape[0]

        unit = rows("encoder.conv_in.weight")
        encoder, decoder = (
            [rows(f"{part}.conv_blocks.{index}.res.0.conv1.weight") // unit for index in range(_count(weights, part))]
            for part in ("encoder", "decoder")
        )
        size, dim = _weight(weights, "quantize.embedding.weight").shape
        return {
            "codebook_size": size,
            "codebook_embed_dim": dim,
            "encoder_ch_mult": encoder,
            "decoder_ch_mult": decoder[::-1],
            "z_channels": rows("encoder.conv_out.weight"),
            "in_channels": _weight(weights, "encoder.conv_in.weight").shape[1],
            "ch": unit,
            "num_res_blocks": sum(
                name.startswith("encoder.conv_blocks.0.res.") and name.endswith(".conv1.weight") for name in weights
            ),
        }

    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """(B, C, H, W) -> one level (B, H/f, W/f)."""
        latents = self.quant_conv(self.encoder(pixel_values))
        points = channels_last(latents)
        if self.is_normalised:
            points = F.normalize(points.float(), dim=1)
        return (nearest(points, self.vectors(0)).view(len(latents), *latents.shape[2:]),)

    def decode(self, codes: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """One level -> (B, C, H, W)."""
        vectors = F.embedding(codes[0], self.vectors(0)).permute(0, 3, 1, 2)
        return self.decoder(self.post_quant_conv(vectors))

    def vectors(self, level: int) -> torch.Tensor:
        """(codebook_size, codebook_embed_dim), of length one with `codebook_l2_norm`."""
        weight = self.quantize.embedding.weight
        return F.normalize(weight, dim=1) if self.is_normalised else weight


def _weight(weights: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    if name not in weights:
        raise InputError(f"the weights are not of layout llamagen: {name} is missing")
    return weights[name]


def _count(weights: Mapping[str, torch.Tensor], part: str) -> int:
    """Number of grids of encoder or decoder."""
    return len({name.split(".")[2] for name in weights if name.startswith(f"{part}.conv_blocks.")})
