"""Configuration of another project's VQ image tokenizer behind our interface."""

# No `from __future__ import annotations` here: `strict` checks only types that are not strings.
import math
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..hub.errors import InputError
from .config import spatial_grids
from .layout import LayoutShape, layout_class


@strict
class AdaptedTokenizerConfig(PreTrainedConfig):
    """Which network an `AdaptedTokenizer` holds.

    Args:
        layout: whose network and tensor names: "chameleon", "emu3", "janus", "llamagen", "patches" or "vqvae2".
        settings: the network's sizes, by the names of its own project; those left out have its usual values.
        image_size: side of the pictures it is meant for, pixels; 0 takes the layout's usual one. Other sizes work
            wherever the strides divide them.
        pixel_mean: the network reads (value - mean) / std of values in 0..1, one number for all channels or one each;
            the layout's usual ones unless told. `encode` and `decode` speak [-1, 1] whatever these are.
        pixel_std: see `pixel_mean`.

    Raises:
        InputError: an unknown layout or setting, or values that do not fit together.

    Example:
        >>> config = AdaptedTokenizerConfig(layout="vqvae2")
        >>> config.codebook_sizes, config.grids(256, 256)
        ([512, 512], ((32, 32), (64, 64)))
    """

    model_type = "pictogram_adapted_tokenizer"

    layout: str = "vqvae2"
    settings: dict[str, Any] | None = None
    image_size: int = 0
    pixel_mean: list[int | float] | tuple[int | float, ...] | None = None
    pixel_std: list[int | float] | tuple[int | float, ...] | None = None

    def __post_init__(self, **kwargs):
        layout = layout_class(self.layout)
        self.settings = layout.complete(self.settings or {})
        self.image_size = self.image_size or layout.image_size
        self.pixel_mean = list(layout.pixel_mean if self.pixel_mean is None else self.pixel_mean)
        self.pixel_std = list(layout.pixel_std if self.pixel_std is None else self.pixel_std)
        self.validate_architecture()  # `strict` calls it again, but wraps its error in one that is no InputError
        super().__post_init__(**kwargs)

    def validate_architecture(self):
        """Checks that the picture's size and the pixels' statistics fit the network."""
        size, channels = self.image_size, self.num_channels
        assert self.pixel_mean is not None and self.pixel_std is not None
        self.grids(size, size)
        for name in ("pixel_mean", "pixel_std"):
            values = getattr(self, name)
            if len(values) not in (1, channels) or not all(math.isfinite(value) for value in values):
                raise InputError(f"{name} must be one number or one for each of {channels} channels, got {values}")
        if min(self.pixel_std) <= 0:
            raise InputError(f"pixel_std must be above 0, got {self.pixel_std}")

    @property
    def shape(self) -> LayoutShape:
        """Strides, codebook sizes and channels of the network."""
        assert self.settings is not None
        return layout_class(self.layout).shape(self.settings)

    @property
    def strides(self) -> list[int]:
        """Pixels per code along each side, one entry a level, coarse to fine."""
        return self.shape.strides

    @property
    def spatial_strides(self) -> list[int]:
        """The same: every level has a spatial grid."""
        return self.shape.strides

    @property
    def codebook_sizes(self) -> list[int]:
        """Number of codes K of each level."""
        return self.shape.codebook_sizes

    @property
    def num_channels(self) -> int:
        """Colour channels of `pixel_values`."""
        return self.shape.num_channels

    @property
    def num_levels(self) -> int:
        """Number of levels L."""
        return len(self.strides)

    @property
    def has_image_level(self) -> bool:
        """Whether level 0 is one code for the whole image: never."""
        return False

    @property
    def bits_per_level(self) -> list[float]:
        """log2 K of each level: bits of one code before any entropy coding."""
        return [math.log2(size) for size in self.codebook_sizes]

    def grids(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Rows and columns of every level for a picture of `height` x `width` pixels.

        Raises:
            InputError: the coarsest stride does not divide the picture.
        """
        return spatial_grids(self.strides, height, width)
