"""The VQ model of Chameleon (2024, arXiv:2405.09818) as transformers has it: `ChameleonVQVAE`, an encoder only.

transformers has no decoder for Chameleon, so its codes train a prior or fill a dataset, but make no pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers.models.chameleon.configuration_chameleon import ChameleonVQVAEConfig
from transformers.models.chameleon.modeling_chameleon import ChameleonVQVAE

from ..hub.errors import InputError
from .interface import ImageCodes
from .layout import LayoutShape, TokenizerLayout, as_json, check_multipliers, encode_one_level, read_settings, size_in

_SCALE = 255 * 0.0078
"""Chameleon's pixels are 8-bit values times 0.0078, minus 1: from -1 to 0.989."""


@dataclass(frozen=True)
class ChameleonSettings:
    """What of `ChameleonVQVAEConfig` decides codes, by its names and with its defaults."""

    embed_dim: int = 256
    num_embeddings: int = 8192
    double_latent: bool = False
    latent_channels: int = 256
    resolution: int = 512
    in_channels: int = 3
    base_channels: int = 128
    channel_multiplier: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = ()
    attn_type: str = "vanilla"


class ChameleonLayout(TokenizerLayout):
    """`ChameleonVQVAE` behind our interface: codes are its own, value for value; `decode` raises InputError."""

    codes_names = ("model.encoder.", "model.quantize.", "model.quant_conv.")
    picture_names = ("model.quantize.",)
    wrapped_at = "model."
    image_size = 512
    pixel_mean = (1 / _SCALE,)
    pixel_std = (1 / _SCALE,)

    def __init__(self, settings: Mapping[str, Any]):
        super().__init__()
        values = asdict(read_settings(ChameleonSettings, settings))
        values["attn_resolutions"] = list(values["attn_resolutions"])
        self.model = ChameleonVQVAE(ChameleonVQVAEConfig(**values))

    @classmethod
    def complete(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with the defaults filled in."""
        sizes = read_settings(ChameleonSettings, settings)
        check_multipliers("channel_multiplier", sizes.channel_multiplier)
        return as_json(sizes)

    @classmethod
    def shape(cls, settings: dict[str, Any]) -> LayoutShape:
        """One level; every channel multiplier after the first halves the grid."""
        sizes = read_settings(ChameleonSettings, settings)
        return LayoutShape([2 ** (len(sizes.channel_multiplier) - 1)], [sizes.num_embeddings], sizes.in_channels)

    @classmethod
    def image_size_of(cls, config: Mapping[str, Any]) -> int:
        """The configuration's `resolution`."""
        return size_in(config, "resolution", cls.image_size)

    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """(B, C, H, W) -> one level (B, H/f, W/f)."""
        return (encode_one_level(self.model, pixel_values),)

    def decode(self, codes: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """There is no decoder.

        Raises:
            InputError: always.
        """
        raise InputError("layout chameleon has no decoder: it makes codes of pictures, but no pictures of codes")

    def vectors(self, level: int) -> torch.Tensor:
        """(num_embeddings, embed_dim)."""
        return self.model.quantize.embedding.weight
