"""The VQ model of Janus (Wu et al. 2024, arXiv:2410.13848) as transformers has it: `JanusVQVAE`.

Decoding scales the codebook's vectors to length one and encoding takes them as they are; both are kept as they are in
transformers, so that codes and pictures equal its own. Real checkpoints have vectors of about that length.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn import functional as F
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAE

from .interface import ImageCodes
from .layout import LayoutShape, TokenizerLayout, as_json, check_multipliers, encode_one_level, read_settings, size_in


@dataclass(frozen=True)
class JanusSettings:
    """What of `JanusVQVAEConfig` decides codes and pictures, by its names and with its defaults.

    `num_patches`, the one grid that transformers decodes, is not among them: any grid decodes here.
    """

    embed_dim: int = 8
    num_embeddings: int = 16384
    double_latent: bool = False
    latent_channels: int = 256
    in_channels: int = 3
    out_channels: int = 3
    base_channels: int = 128
    channel_multiplier: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2


class JanusLayout(TokenizerLayout):
    """`JanusVQVAE` behind our interface: codes and pictures are its own, value for value."""

    codes_names = ("model.encoder.", "model.quantize.", "model.quant_conv.")
    picture_names = ("model.quantize.", "model.post_quant_conv.", "model.decoder.")
    wrapped_at = "model."
    image_size = 384

    def __init__(self, settings: Mapping[str, Any]):
        super().__init__()
        self.model = JanusVQVAE(JanusVQVAEConfig(**asdict(read_settings(JanusSettings, settings))))

    @classmethod
    def complete(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with the defaults filled in."""
        sizes = read_settings(JanusSettings, settings)
        check_multipliers("channel_multiplier", sizes.channel_multiplier)
        return as_json(sizes)

    @classmethod
    def shape(cls, settings: dict[str, Any]) -> LayoutShape:
        """One level; every channel multiplier after the first halves the grid."""
        sizes = read_settings(JanusSettings, settings)
        return LayoutShape([2 ** (len(sizes.channel_multiplier) - 1)], [sizes.num_embeddings], sizes.in_channels)

    @classmethod
    def image_size_of(cls, config: Mapping[str, Any]) -> int:
        """The side of the one grid that transformers decodes, `num_patches`, in pixels."""
        default = JanusVQVAEConfig()
        multipliers = config.get("channel_multiplier") or default.channel_multiplier
        return size_in(config, "num_patches", default.num_patches) * 2 ** (len(multipliers) - 1)

    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """(B, C, H, W) -> one level (B, H/f, W/f)."""
        return (encode_one_level(self.model, pixel_values),)

    def decode(self, codes: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """One level -> (B, C, H, W)."""
        # `JanusVQVAE.decode` in its own steps, but for its fixed grid.
        vectors = F.normalize(self.model.quantize.embedding(codes[0]), dim=-1).permute(0, 3, 1, 2).contiguous()
        return self.model.decoder(self.model.post_quant_conv(vectors))

    def vectors(self, level: int) -> torch.Tensor:
        """(num_embeddings, embed_dim), of length one: what decoding reads."""
        return F.normalize(self.model.quantize.embedding.weight, dim=-1)
