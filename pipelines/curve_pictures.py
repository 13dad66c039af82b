"""Pictures as tensors of 8-bit values, for the points of curves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from ..hub.errors import InputError
from ..tokenizer.decoding import UnreadableImage
from ..tokenizer.images import ImageSource, load_image_source


@dataclass(frozen=True)
class Pictures:
    """What the baselines learn from and what they are measured on.

    Attributes:
        train: (N, H, W, C) uint8; C is 1 if every picture is grey, else 3.
        test: (M, H, W, C) uint8.
    """

    train: torch.Tensor
    test: torch.Tensor

    @classmethod
    def alike(cls, train: torch.Tensor, test: torch.Tensor) -> Pictures:
        """Of (N, H, W, C) each, grey ones repeated in three channels where the others have colours.

        Raises:
            InputError: the two are of different sizes.
        """
        if train.shape[1:3] != test.shape[1:3]:
            raise InputError(f"expected one size, got {[*train.shape[1:3]]} in train and {[*test.shape[1:3]]} in test")
        channels = max(train.shape[-1], test.shape[-1])
        return cls(*(pictures.expand(*pictures.shape[:3], channels).contiguous() for pictures in (train, test)))


def load_pictures(source: str, max_train: int, max_test: int) -> Pictures:
    """Reads the first pictures of the splits "train" and "test" of a source; see `load_image_source`.

    Raises:
        InputError: a picture cannot be read, or the pictures are not all of one size.
    """
    train, test = load_image_source(source, "train"), load_image_source(source, "test")
    return Pictures.alike(stack(list(first_pictures(train, max_train))), stack(list(first_pictures(test, max_test))))


def first_pictures(
    source: ImageSource, most: int, progress: Callable[[int], None] = lambda _: None
) -> Iterator[Image.Image]:
    """In RGB, or in mode "L" if they are grey in every pixel; `progress` is called with 1 after each.

    Raises:
        InputError: a picture cannot be read.
    """
    for row in range(min(len(source), most)):
        try:
            image = source.read(row)
        except UnreadableImage as error:
            raise InputError(f"{source.key(row)} of {source.name} cannot be read as a picture: {error}") from error
        yield plain_mode(image)
        progress(1)


def plain_mode(image: Image.Image) -> Image.Image:
    """A picture in mode "L" if red, green and blue are equal in every pixel; as it is otherwise."""
    values = np.asarray(image)
    return image.convert("L") if values.ndim == 2 or bool((values == values[..., :1]).all()) else image


def to_tensor(image: Image.Image) -> torch.Tensor:
    """Mode "L" or "RGB" -> (H, W, 1 or 3) uint8."""
    values = np.array(image)
    return torch.from_numpy(values.reshape(*values.shape[:2], -1))


def common_mode(images: Sequence[Image.Image]) -> str:
    """Mode "L" if all pictures are grey, else "RGB"."""
    return "L" if all(image.mode == "L" for image in images) else "RGB"


def tensors(images: Sequence[Image.Image], mode: str) -> torch.Tensor | list[torch.Tensor]:
    """(N, H, W, C) uint8 of pictures of one size, one (H, W, C) each of others; C is 1 in mode "L", 3 in "RGB"."""
    found = [to_tensor(image.convert(mode)) for image in images]
    return torch.stack(found) if len({image.size for image in images}) == 1 else found


def stack(images: Sequence[Image.Image]) -> torch.Tensor:
    """(N, H, W, C) uint8; C is 1 if all are grey, else 3.

    Raises:
        InputError: the pictures are not all of one size.
    """
    sizes = sorted({(image.height, image.width) for image in images})
    if len(sizes) != 1:
        raise InputError(f"expected pictures of one size, got (height, width) {sizes[:4]}")
    mode = common_mode(images)
    return torch.stack([to_tensor(image.convert(mode)) for image in images])
