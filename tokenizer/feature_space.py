"""Feature spaces in which sets of pictures are compared: averages of pixels, or a module of the user's own."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from ..hub.errors import InputError, first_line

THUMBNAIL = "thumbnail"
_THUMBNAIL_SIDE = 8


@dataclass(frozen=True)
class FeatureSpace:
    """A function of pictures, and what it is called.

    Attributes:
        name: "thumbnail" or the module's file name.
        sha256: of the module's file, as 64 hex digits; None for a built-in space.
        function: (B, C, H, W) in [-1, 1] -> (B, F).
    """

    name: str
    sha256: str | None
    function: Callable[[torch.Tensor], torch.Tensor]

    @torch.no_grad()
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Features of 8-bit values.

        Args:
            pixels: (B, C, H, W) whole numbers, 0..255; the function sees value / 127.5 - 1.

        Returns:
            (B, F) float64.

        Raises:
            InputError: the user's module fails on such pictures, or gives something else than finite (B, F).
        """
        try:
            features = self.function(pixels / 127.5 - 1)
        except Exception as error:
            shape = tuple(pixels.shape)
            raise InputError(f"features {self.name} failed on pictures {shape}: {first_line(error)}") from error
        if not isinstance(features, torch.Tensor) or features.dim() != 2 or len(features) != len(pixels):
            shape = tuple(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
            raise InputError(f"features {self.name} must be a tensor ({len(pixels)}, F), got {shape}")
        if not torch.isfinite(features).all():
            raise InputError(f"features {self.name} must be finite, got NaN or infinity")
        return features.double().cpu()


def load_feature_space(name: str | os.PathLike[str]) -> FeatureSpace:
    """Opens a feature space.

    Args:
        name: "thumbnail", the mean of every channel over 8 x 8 cells (cell i of 8 covers rows floor(i H / 8) up to
            ceil((i + 1) H / 8), and columns alike), 64 C numbers a picture; or a file with a module that maps
            (B, 3, H, W) in [-1, 1] to (B, F): TorchScript, or ".pt2" as `torch.export.save` writes it. Grey is given
            to a module three times.

    Raises:
        InputError: there is no such file, or it holds no module.
    """
    if name == THUMBNAIL:
        return FeatureSpace(THUMBNAIL, None, _thumbnail)
    path = Path(name)
    if not path.is_file():
        raise InputError(
            f'features must be "{THUMBNAIL}" or a file with a TorchScript or torch.export module, got {path}'
        )
    try:
        module = _load_module(path)
    except Exception as error:
        reason = first_line(error)
        raise InputError(f"{path} cannot be loaded as a TorchScript or torch.export module: {reason}") from error
    return FeatureSpace(path.name, hashlib.sha256(path.read_bytes()).hexdigest(), _of_colour(module))


def _thumbnail(pixel_values: torch.Tensor) -> torch.Tensor:
    return F.adaptive_avg_pool2d(pixel_values.double(), _THUMBNAIL_SIDE).flatten(1)


def _load_module(path: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    with warnings.catch_warnings():  # TorchScript is announced to go; what people have saved in it still loads
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.load(path, map_location="cpu").eval()


def _of_colour(module: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
    def call(pixel_values: torch.Tensor) -> torch.Tensor:
        return module(pixel_values.float().cpu().expand(-1, 3, -1, -1))

    return call
