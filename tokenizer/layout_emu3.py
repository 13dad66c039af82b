"""The VQ model of Emu3 (Wang et al. 2024, arXiv:2409.18869) as transformers has it: `Emu3VQVAE`.

It was made for video: a picture goes in as several equal frames and comes out as the first of several. That time axis
stays inside, and so do the line ends that Emu3's language model writes between the rows: codes are plain grids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from transformers.models.emu3.configuration_emu3 import Emu3VQVAEConfig
from transformers.models.emu3.modeling_emu3 import Emu3VQVAE

from ..hub.errors import InputError
from .interface import ImageCodes
from .layout import LayoutShape, TokenizerLayout, as_json, check_multipliers, read_settings


@dataclass(frozen=True)
class Emu3Settings:
    """What of `Emu3VQVAEConfig` decides codes and pictures, by its names and with its defaults."""

    codebook_size: int = 32768
    embed_dim: int = 4
    latent_channels: int = 4
    double_latent: bool = False
    in_channels: int = 3
    out_channels: int = 3
    temporal_downsample_factor: int = 4
    base_channels: int = 256
    channel_multiplier: tuple[int, ...] = (1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (3,)
    hidden_size: int = 1024
    num_attention_heads: int = 1


class Emu3Layout(TokenizerLayout):
    """`Emu3VQVAE` behind our interface: codes and pictures are its own, value for value."""

    codes_names = ("model.encoder.", "model.quantize.", "model.quant_conv.")
    picture_names = ("model.quantize.", "model.post_quant_conv.", "model.decoder.")
    wrapped_at = "model."
    image_size = 512

    def __init__(self, settings: Mapping[str, Any]):
        super().__init__()
        self.model = Emu3VQVAE(Emu3VQVAEConfig(**asdict(read_settings(Emu3Settings, settings))))

    @classmethod
    def complete(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with the defaults filled in; InputError for widths that do not fit together."""
        sizes = read_settings(Emu3Settings, settings)
        check_multipliers("channel_multiplier", sizes.channel_multiplier)
        widest = sizes.base_channels * sizes.channel_multiplier[-1]
        if sizes.hidden_size != widest:
            raise InputError(f"setting hidden_size must be the coarsest grid's {widest}, got {sizes.hidden_size}")
        return as_json(sizes)

    @classmethod
    def shape(cls, settings: dict[str, Any]) -> LayoutShape:
        """One level; every channel multiplier after the first halves the grid."""
        sizes = read_settings(Emu3Settings, settings)
        return LayoutShape([2 ** (len(sizes.channel_multiplier) - 1)], [sizes.codebook_size], sizes.in_channels)

    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """(B, C, H, W) -> one level (B, H/f, W/f)."""
        # Emu3 pads pictures of several sizes to one batch and cuts the padding off the codes; here all are of one size.
        image_sizes = torch.tensor([pixel_values.shape[-2:]] * len(pixel_values))
        codes = cast(list[torch.Tensor], self.model.encode(pixel_values, image_sizes).image_tokens)
        return (torch.stack(codes),)

    def decode(self, codes: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """One level -> (B, C, H, W)."""
        return self.model.decode(codes[0])

    def vectors(self, level: int) -> torch.Tensor:
        """(codebook_size, embed_dim)."""
        return self.model.quantize.embedding.weight
