"""What the rest of the pipeline asks of an image tokenizer, ours or another's behind an adapter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Protocol

import torch

ImageCodes = tuple[torch.Tensor, ...]
"""The codes of B pictures: one int64 tensor (B, h_l, w_l) per level, coarse to fine."""


class TokenizerConfig(Protocol):
    """Shapes of an image tokenizer, in its `config`."""

    @property
    def name_or_path(self) -> Any:
        """Where it was loaded from; empty for a new one."""
        ...

    @property
    def image_size(self) -> int:
        """Side of the pictures it was made for, pixels."""
        ...

    @property
    def num_channels(self) -> int:
        """3 for colour, 1 for grey."""
        ...

    @property
    def strides(self) -> Sequence[int | str]:
        """Levels, coarse to fine: pixels per code along each side, or "image"."""
        ...

    @property
    def spatial_strides(self) -> Sequence[int]:
        """Strides of the levels that have a spatial grid, coarse to fine."""
        ...

    @property
    def codebook_sizes(self) -> Sequence[int]:
        """Number of codes K of each level."""
        ...

    @property
    def num_levels(self) -> int:
        """Number of levels L."""
        ...

    @property
    def has_image_level(self) -> bool:
        """Whether level 0 is one code for the whole image."""
        ...

    def grids(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Rows and columns of every level for a picture of `height` x `width` pixels; InputError if it does not fit."""
        ...


class TokenizesImages(Protocol):
    """Pictures to codes and back: `ImageTokenizer` and `AdaptedTokenizer`. Both are `PreTrainedModel`s."""

    training: bool

    @property
    def config(self) -> TokenizerConfig:
        """Shapes."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The number type of the weights."""
        ...

    @property
    def name_or_path(self) -> str | None:
        """Where it was loaded from; empty for a new one."""
        ...

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Moves the weights to a device or a number type, in place."""
        ...

    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """(B, C, H, W) in [-1, 1] -> codes, coarse to fine."""
        ...

    def decode(self, codes: Sequence[torch.Tensor], num_levels: int | None = None) -> torch.Tensor:
        """Codes -> (B, C, H, W) in [-1, 1], from all levels or from the first `num_levels`."""
        ...

    def code_vectors(self, level: int) -> torch.Tensor:
        """(K_l, D_l) float32: the vectors that the codes of a level stand for."""
        ...

    def codes_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that decides codes, by its name: encoder and codebooks."""
        ...

    def picture_tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor that decides pictures, by its name: codebooks and decoder."""
        ...

    def codes_settings(self) -> dict[str, Any]:
        """JSON-serialisable settings that decide codes beside the tensors."""
        ...

    def picture_settings(self) -> dict[str, Any]:
        """JSON-serialisable settings that decide pictures beside the tensors."""
        ...

    def save_pretrained(self, save_directory: str | os.PathLike[str]) -> None:
        """Writes config.json and model.safetensors."""
        ...
