"""Any picture PIL can hold -> 8-bit RGB, without clipping, black transparency or a picture lying on its side."""

from __future__ import annotations

import contextlib

import numpy as np
from PIL import Image, ImageOps

WHITE = (255, 255, 255)
_WIDE_GREY_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def to_rgb(image: Image.Image, background: tuple[int, int, int] = WHITE) -> Image.Image:
    """Converts a picture of any mode to 8-bit RGB.

    The first frame of an animation is taken, the EXIF orientation applied, transparency composed over `background`, and
    grey of more than 8 bits scaled to 8 (``Image.convert`` would clip it to white).

    Args:
        image: a picture in any mode PIL can read.
        background: red, green and blue, 0 to 255, seen through transparent pixels.

    Returns:
        A new picture in mode "RGB".
    """
    if getattr(image, "is_animated", False):
        with contextlib.suppress(EOFError):  # layers of a PSD file count from 1; where none was chosen it is whole
            image.seek(0)
    image = _upright(image)
    if image.mode in _WIDE_GREY_MODES:
        image = _wide_grey_to_8_bits(image)
    if _has_transparency(image):
        return _compose(image, background)
    return image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except (
        Exception
    ):  # a damaged EXIF block raises almost anything, and says nothing about the pixels: they are kept as stored
        return image


def _wide_grey_to_8_bits(image: Image.Image) -> Image.Image:
    """Scales so that the greatest value the picture's number format stands for becomes 255; to "L", or "LA"."""
    values = np.nan_to_num(np.asarray(image).astype(np.float64))
    peak = float(values.max(initial=0.0))
    if image.mode == "F":  # floats state no range: the smallest usual one that holds them
        white = next((limit for limit in (1.0, 255.0, 65535.0) if peak <= limit), peak)
    else:  # mode "I" is how PIL reads 16-bit PNM, and PNG before Pillow 11; beyond 16 bits it really is 32-bit
        white = 65535.0 if peak <= 65535.0 else 2147483647.0
    scaled = np.floor(np.clip(values / white, 0.0, 1.0) * 255.0 + 0.5)
    grey = Image.fromarray(scaled.astype(np.uint8))
    clear = image.info.get("transparency")
    if not isinstance(clear, int):
        return grey
    # One value of the wide format is transparent; scaled, it would be one with its neighbours.
    return Image.merge("LA", (grey, Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))))


def _has_transparency(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _compose(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    if image.mode == "La":  # premultiplied grey converts to LA only
        image = image.convert("LA")
    ground = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
