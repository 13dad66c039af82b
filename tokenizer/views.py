"""Augmented views: a picture again, mirrored or cropped, as further rows of a dataset of codes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..hub.errors import InputError


@dataclass(frozen=True)
class ViewSettings:
    """Which views of a picture there are beside view 0, the picture as it is.

    Attributes:
        flip: view 1 is mirrored left to right, and every second crop on average.
        num_crops: as many views are random crops, of the picture's own proportions.
        crop_scale: smallest area of a crop, as a part of the picture's; above 0, at most 1.
        seed: of the crops. A view depends on it, the row's key and the view's number alone.

    Raises:
        InputError: a number out of range.
    """

    flip: bool = False
    num_crops: int = 0
    crop_scale: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.num_crops < 1000:
            raise InputError(f"num_crops must be from 0 to 999, got {self.num_crops}")
        if not 0 < self.crop_scale <= 1:
            raise InputError(f"crop_scale must be above 0 and at most 1, got {self.crop_scale}")

    @property
    def num_views(self) -> int:
        """Rows per picture."""
        return 1 + self.flip + self.num_crops


def views_of(image: Image.Image, key: str, settings: ViewSettings) -> Iterator[Image.Image]:
    """The views of a picture in order, the picture itself first.

    Args:
        image: any picture.
        key: its row's key.
        settings: which views.
    """
    yield image
    if settings.flip:
        yield _mirrored(image)
    for view in range(settings.num_views - settings.num_crops, settings.num_views):
        generator = _generator(key, view, settings.seed)
        crop = image.crop(_random_box(image.size, settings.crop_scale, generator))
        yield _mirrored(crop) if settings.flip and generator.random() < 0.5 else crop


def _random_box(size: tuple[int, int], scale: float, generator: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, upper, right and lower of a crop, in pixels."""
    side = generator.uniform(scale, 1.0) ** 0.5  # the area is what is uniform
    width, height = (max(1, round(length * side)) for length in size)
    left, upper = int(generator.integers(size[0] - width + 1)), int(generator.integers(size[1] - height + 1))
    return left, upper, left + width, upper + height


def _mirrored(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _generator(key: str, view: int, seed: int) -> np.random.Generator:
    """Equal on every machine and whatever else is read."""
    digest = hashlib.sha256(f"{seed}/{view}/{key}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))
