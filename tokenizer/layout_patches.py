"""Pictures as patches, each replaced by one of K: a tokenizer without a network.

What a learned tokenizer must beat. `train_patches` makes one; its vectors are patches of pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from ..hub.errors import InputError
from .interface import ImageCodes
from .layout import LayoutShape, TokenizerLayout, as_json, read_settings
from .patches import from_patches, to_patches
from .quantizer import nearest


@dataclasses.dataclass(frozen=True)
class PatchesSettings:
    """Sizes of a patch quantizer.

    Attributes:
        patch_size: side of a patch, pixels.
        codebook_size: codes K.
        num_channels: colour channels.
        places: rows and columns of the patches of a picture, if every place has a codebook of its own; empty if all
            places share one.
    """

    patch_size: int = 4
    codebook_size: int = 256
    num_channels: int = 3
    places: tuple[int, ...] = ()


class PatchesLayout(TokenizerLayout):
    """Codebooks of patches and what each code costs.

    `codebooks`, (books, K, patch_size * patch_size * num_channels), are pixels in [-1, 1], row by row with the channels
    of a pixel together. `costs`, (books, K), is added to the squared distances: entropy-constrained quantization (Chou,
    Lookabaugh & Gray 1989).
    """

    codes_names = ("codebooks", "costs")
    picture_names = ("codebooks",)
    anchor = "codebooks"
    image_size = 32

    def __init__(self, settings: Mapping[str, Any]):
        super().__init__()
        self.sizes = read_settings(PatchesSettings, settings)
        side, size = self.sizes.patch_size, self.sizes.codebook_size
        books = self.sizes.places[0] * self.sizes.places[1] if self.sizes.places else 1
        self.codebooks = nn.Parameter(torch.zeros(books, size, side * side * self.sizes.num_channels))
        self.costs = nn.Parameter(torch.zeros(books, size))

    @classmethod
    def complete(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with the defaults filled in; InputError for an unknown name or odd `places`."""
        sizes = read_settings(PatchesSettings, settings)
        if sizes.places and (len(sizes.places) != 2 or min(sizes.places) < 1):
            raise InputError(f"setting places must be rows and columns, or empty, got {list(sizes.places)}")
        return as_json(sizes)

    @classmethod
    def shape(cls, settings: dict[str, Any]) -> LayoutShape:
        """One level, a code per patch."""
        sizes = read_settings(PatchesSettings, settings)
        return LayoutShape([sizes.patch_size], [sizes.codebook_size], sizes.num_channels)

    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """(B, C, H, W) -> ((B, H / patch_size, W / patch_size) codes of least squared distance + cost,)."""
        side = self.sizes.patch_size
        patches = to_patches(pixel_values.movedim(1, -1), side, side)  # (B, P, D)
        rows, columns = (length // side for length in pixel_values.shape[-2:])
        self._check_places(rows, columns)
        books = patches.transpose(0, 1) if self.sizes.places else patches.flatten(0, 1).unsqueeze(0)
        codes = [
            nearest(points, vectors, bias=costs)
            for points, vectors, costs in zip(books, self.codebooks, self.costs, strict=True)
        ]
        # One column a place, or all in raster order.
        flat = torch.stack(codes, 1) if self.sizes.places else codes[0]
        return (flat.view(-1, rows, columns),)

    def decode(self, codes: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """((B, h, w) codes,) -> (B, C, H, W)."""
        side, (count, rows, columns) = self.sizes.patch_size, codes[0].shape
        self._check_places(rows, columns)
        flat = codes[0].reshape(count, rows * columns)
        place = torch.arange(rows * columns, device=flat.device) if self.sizes.places else torch.zeros_like(flat)
        patches = self.codebooks[place, flat]  # (B, P, D)
        return from_patches(patches, side, side, (rows * side, columns * side)).movedim(-1, 1)

    def vectors(self, level: int) -> torch.Tensor:
        """(K, books * D): what a code stands for, at all places one after the other."""
        return self.codebooks.transpose(0, 1).flatten(1)

    def _check_places(self, rows: int, columns: int) -> None:
        if self.sizes.places and (rows, columns) != self.sizes.places:
            side, (wanted_rows, wanted_columns) = self.sizes.patch_size, self.sizes.places
            raise InputError(
                f"every place of pictures of {wanted_rows * side}x{wanted_columns * side} pixels has a codebook of "
                f"its own, got a picture of {rows * side}x{columns * side}"
            )
