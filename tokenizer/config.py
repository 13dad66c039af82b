"""Configuration of the hierarchical image tokenizer."""

# No `from __future__ import annotations` here: `strict` checks only types that are not strings.
import itertools
import math
from collections.abc import Sequence
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from ..hub.errors import InputError
from .ancestors import read_ancestors
from .gradients import ESTIMATORS

WHOLE_IMAGE = "image"
"""The stride of a level that has one code for the whole image."""


QUANTIZERS = ("ema", "l2", "fsq", "lfq")
"""Names of the quantizers; each has a file of its own."""


@strict
class ImageTokenizerConfig(PreTrainedConfig):
    """Shapes and training constants of an `ImageTokenizer`.

    Args:
        image_size: side of the square training pictures, pixels. Other sizes work wherever the strides divide them.
        num_channels: colour channels of `pixel_values`.
        strides: one entry a level, coarse to fine: pixels per code along each side, or `"image"` for a level with a
            single code for the whole image (only as the first entry). Each stride is a multiple of the next one. A
            level with the stride of the one before it quantizes what that one left over (residual quantization).
        codebook_sizes: number of codes K of each level.
        codebook_dim: length D of a code's vector, all levels.
        patch_size: pixels per cell of the finest feature grid; divides the finest stride.
        hidden_size: feature channels.
        num_blocks: residual blocks on every grid, encoder and decoder each.
        expansion: channel expansion inside a residual block.
        quantizer: what turns latents into codes: "ema" (a codebook of running means), "l2" (unit vectors learned by
            gradient), "fsq" (a fixed grid; sizes must be products of numbers 3 to 16) or "lfq" (signs; powers of 2).
            FSQ and LFQ set the length of their vectors themselves.
        gradient_estimator: "straight_through" or "rotation", how gradients pass the quantizer; FSQ rounds, and knows
            only the first.
        entropy_weight: of LFQ's entropy term.
        commitment_weight: beta of the VQ-VAE loss (van den Oord et al. 2017, eq. 3); pulls latents to their code.
        codebook_decay: decay per step of the codebook statistics (eq. 6-8 of the same paper), after the first updates,
            which have less.
        revival_threshold: a code whose share of the assignments falls below this fraction of 1/K is replaced.
        prefix_weights: of the squared error of what levels 0..i alone decode to, for each i but the last, beside 1 for
            all levels. A prefix of weight 0 is not trained, and decodes to nothing sensible.
        rate_weight: squared error over a picture, of pixels of 0 to 255, that one bit of its codes is worth. Above 0
            the tokenizer learns to spare bits, and `encode` chooses codes by bits and errors, with a small model of
            the rate that is part of it. Needs the quantizer "ema".
        own_image_features: whether the whole-image code is decided by features of its own, which no finer level reads:
            so it can learn by itself, before the others and for another purpose, see `symbol_stage`.
        ancestors: the tokenizers that this one was grown from, oldest first, see `ancestors.Ancestor.to_json`.

    Raises:
        InputError: strides, codebooks or weights that do not fit together, or a size below 1. A value of a wrong type
            is refused by `strict` itself.

    Example:
        >>> config = ImageTokenizerConfig(strides=["image", 8, 4], codebook_sizes=[64, 256, 256])
        >>> config.grids(32, 32)
        ((1, 1), (4, 4), (8, 8))
    """

    model_type = "pictogram_image_tokenizer"

    image_size: int = 32
    num_channels: int = 3
    strides: list[int | str] | tuple[int | str, ...] = (WHOLE_IMAGE, 8, 4)
    codebook_sizes: list[int] | tuple[int, ...] = (64, 256, 256)
    codebook_dim: int = 16
    patch_size: int = 4
    hidden_size: int = 96
    num_blocks: int = 2
    expansion: int = 2
    quantizer: str = "ema"
    gradient_estimator: str = "straight_through"
    entropy_weight: int | float = 0.1
    commitment_weight: int | float = 0.25
    codebook_decay: int | float = 0.99
    revival_threshold: int | float = 0.05
    prefix_weights: list[int | float] | tuple[int | float, ...] | None = None
    rate_weight: int | float = 0.0
    own_image_features: bool = False
    ancestors: list[dict[str, Any]] | None = None

    def __post_init__(self, **kwargs):
        if self._auto_class is None:  # not a copy of this code that transformers opened: the copy's place is no setting
            kwargs.pop("auto_map", None)
        self.strides = list(self.strides)
        self.codebook_sizes = list(self.codebook_sizes)
        if self.prefix_weights is None:
            self.prefix_weights = [0.1] * (len(self.strides) - 1)
        self.prefix_weights = list(self.prefix_weights)
        self.ancestors = list(self.ancestors or [])
        self.validate_architecture()  # `strict` calls it again, but wraps its error in one that is no InputError
        super().__post_init__(**kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Settings as JSON. Each Auto class names one class of code that goes along, as transformers reads it."""
        settings = super().to_dict()
        # `save_pretrained` of transformers takes a "Tokenizer" for one of texts, and names a slow and a fast class.
        for auto_class, named in settings.get("auto_map", {}).items():
            settings["auto_map"][auto_class] = named if isinstance(named, str) else named[0]
        return settings

    def validate_architecture(self):
        """Checks that levels, strides and weights fit together."""
        for name in ("image_size", "num_channels", "codebook_dim", "patch_size", "hidden_size", "expansion"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_blocks < 0:
            raise InputError(f"num_blocks must be at least 0, got {self.num_blocks}")
        if not 0 <= self.codebook_decay < 1:
            raise InputError(f"codebook_decay must be at least 0 and below 1, got {self.codebook_decay}")
        self._validate_levels()
        self._validate_quantizer()
        read_ancestors(self.ancestors or [], self.codebook_sizes)
        for name in ("commitment_weight", "entropy_weight", "revival_threshold", "rate_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be at least 0 and finite, got {getattr(self, name)}")
        weights = self.prefix_weights or []
        if len(weights) != self.num_levels - 1 or not all(0 <= weight < math.inf for weight in weights):
            raise InputError(
                f"prefix_weights needs {self.num_levels - 1} finite weights >= 0, got {self.prefix_weights}"
            )

    def _validate_levels(self):
        if not self.strides or len(self.codebook_sizes) != len(self.strides):
            raise InputError(
                f"one codebook size per stride is expected, got strides {self.strides} and sizes {self.codebook_sizes}"
            )
        spatial = self.spatial_strides
        if any(not isinstance(stride, int) or stride < 1 for stride in spatial) or not spatial:
            raise InputError(
                f'strides must be positive integers, with "image" only as the first one, got {self.strides}'
            )
        if any(coarse % fine for coarse, fine in itertools.pairwise([*spatial, self.patch_size])):
            raise InputError(
                f"each stride must be a multiple of the next one, and the last one of patch_size {self.patch_size}, "
                f"got {self.strides}"
            )
        if self.own_image_features and not self.has_image_level:
            raise InputError(f'own_image_features needs the level "image", got strides {self.strides}')
        if any(size < 1 for size in self.codebook_sizes):
            raise InputError(f"codebook sizes must be at least 1, got {self.codebook_sizes}")

    def _validate_quantizer(self):
        if self.quantizer not in QUANTIZERS:
            raise InputError(f"quantizer must be one of {', '.join(QUANTIZERS)}, got {self.quantizer!r}")
        if self.gradient_estimator not in ESTIMATORS:
            raise InputError(
                f"gradient_estimator must be one of {', '.join(ESTIMATORS)}, got {self.gradient_estimator!r}"
            )
        if self.quantizer == "fsq" and self.gradient_estimator != "straight_through":
            raise InputError(
                f'FSQ rounds each channel by itself: gradient_estimator must be "straight_through", '
                f"got {self.gradient_estimator!r}"
            )

        if self.quantizer != "ema" and self.rate_weight:
            raise InputError(f'rate_weight needs the quantizer "ema", got {self.quantizer!r}')
        if self.quantizer != "ema" and any(self.is_residual(level) for level in range(self.num_levels)):
            raise InputError(f'equal strides need the quantizer "ema", got {self.quantizer!r} with {self.strides}')

    def is_residual(self, level: int) -> bool:
        """Whether a level quantizes what the level before it, on the same grid, left over."""
        return level > 0 and self.strides[level] == self.strides[level - 1]

    @property
    def num_levels(self) -> int:
        """Number of levels L."""
        return len(self.strides)

    @property
    def has_image_level(self) -> bool:
        """Whether level 0 is one code for the whole image."""
        return self.strides[0] == WHOLE_IMAGE

    @property
    def spatial_strides(self) -> list[int]:
        """Strides of the levels that have a spatial grid, coarse to fine."""
        return self.strides[1:] if self.has_image_level else self.strides  # pyright: ignore[reportReturnType]

    @property
    def bits_per_level(self) -> list[float]:
        """log2 K of each level: bits of one code before any entropy coding."""
        return [math.log2(size) for size in self.codebook_sizes]

    def grids(self, height: int, width: int) -> tuple[tuple[int, int], ...]:
        """Rows and columns of every level for a picture of `height` x `width` pixels.

        Raises:
            InputError: the coarsest stride does not divide the picture.
        """
        spatial = spatial_grids(self.spatial_strides, height, width)
        return ((1, 1), *spatial) if self.has_image_level else spatial


def spatial_grids(strides: Sequence[int], height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Rows and columns of levels with these strides, coarse to fine, for a picture of `height` x `width` pixels.

    Raises:
        InputError: the coarsest stride does not divide the picture.
    """
    if height % strides[0] or width % strides[0] or height < 1 or width < 1:
        raise InputError(
            f"picture sides must be multiples of {strides[0]} pixels (the coarsest stride), got {height}x{width}"
        )
    return tuple((height // stride, width // stride) for stride in strides)
