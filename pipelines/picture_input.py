"""Pictures as people hand them over: opened, and in the codes of a bundle's image tokenizer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..tokenizer.decoding import decode_row
from ..tokenizer.interface import ImageCodes
from ..tokenizer.rgb import to_rgb

Picture = Image.Image | str | os.PathLike[str]

_GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")

_AT_ONCE = 64
"""Pictures that the image tokenizer reads in one pass."""


@dataclass(frozen=True, eq=False)
class EncodedPictures:
    """B pictures of one size.

    Attributes:
        pixel_values: (B, C, H, W) in [-1, 1], what the image tokenizer read.
        codes: theirs.
        size: name of their size.
    """

    pixel_values: torch.Tensor
    codes: ImageCodes
    size: str


def open_pictures(pictures: Picture | Sequence[Picture], background: tuple[int, int, int]) -> list[Image.Image]:
    """Opens one picture or several.

    Args:
        pictures: PIL pictures or paths of files, of any size and mode.
        background: the colour behind transparent pixels.

    Returns:
        As many in RGB.

    Raises:
        InputError: there are none, or see `open_picture`.
    """
    several = [pictures] if isinstance(pictures, str | os.PathLike | Image.Image) else list(pictures)
    if not several:
        raise InputError("at least one picture is expected, got none")
    return [open_picture(picture, background) for picture in several]


def open_picture(picture: Picture, background: tuple[int, int, int]) -> Image.Image:
    """Opens one picture; arguments as for `open_pictures`.

    Raises:
        InputError: a file is missing or cannot be read as a picture, or a picture has no pixels.
    """
    try:
        if isinstance(picture, Image.Image):
            if 0 in picture.size:
                raise InputError(f"it has {picture.width}x{picture.height} pixels, at least 1x1 are expected")
            return to_rgb(picture, background)
        if not Path(picture).is_file():
            raise InputError("it is not a file")
        return decode_row({"bytes": Path(picture).read_bytes(), "path": None}, background)
    except (InputError, OSError) as error:  # PIL reads a file's pixels late, so an opened picture may fail as well
        raise InputError(f"{picture} cannot be read as a picture: {error}") from error


def encode_pictures(bundle: Bundle, pictures: Sequence[Image.Image]) -> EncodedPictures:
    """Pictures -> codes.

    Args:
        bundle: its processor and its image tokenizer do it.
        pictures: of one size if the processor keeps native sizes, else of any.

    Raises:
        InputError: native sizes that differ, that the tokenizer cannot read, or that are not in the vocabulary.
    """
    model = bundle.image_tokenizer
    pixel_values = bundle.image_processor(list(pictures), return_tensors="pt")["pixel_values"]
    groups = [model.encode(group.to(model.device)) for group in pixel_values.split(_AT_ONCE)]
    codes = tuple(torch.cat(level).cpu() for level in zip(*groups, strict=True))
    return EncodedPictures(pixel_values, codes, bundle.vocabulary.size_of([level.shape[-2:] for level in codes]))


def picture_mode(picture: Picture) -> str:
    """The mode a picture comes out in: "L" if it is grey by its own mode, whatever its depth, else "RGB".

    Raises:
        InputError: a file is missing or cannot be read as a picture.
    """
    try:
        mode = picture.mode if isinstance(picture, Image.Image) else _file_mode(picture)
    except OSError as error:
        raise InputError(f"{picture} cannot be read as a picture: {error}") from error
    return "L" if mode in _GREY_MODES else "RGB"


def _file_mode(path: str | os.PathLike[str]) -> str:
    with Image.open(path) as image:
        return image.mode
