"""A file's content -> a picture in RGB, or the reason why not."""

from __future__ import annotations

import io
import os
import threading
import warnings
from collections.abc import Mapping
from typing import Any

from PIL import Image as PILImage

from ..hub.errors import InputError, first_line
from .rgb import WHITE, to_rgb

_ONE_AT_A_TIME = threading.Lock()
"""`catch_warnings` changes what all threads see; opening reads no more than a header."""


class UnreadableImage(InputError):  # noqa: N818
    """One picture that cannot be read; the message is the reason."""


def decode_row(row: Mapping[str, Any] | None, background: tuple[int, int, int] = WHITE) -> PILImage.Image:
    """Decodes one value of an image column.

    Args:
        row: `{"bytes": the file's content or None, "path": where it is or None}`.
        background: the colour behind transparent pixels.

    Returns:
        The picture in RGB.

    Raises:
        UnreadableImage: missing, empty, cut short, damaged, not a picture, or with more pixels than PIL allows.
    """
    row = row if isinstance(row, Mapping) else {"bytes": row}
    content, path = row.get("bytes"), row.get("path")
    if content is None and not path:
        raise UnreadableImage("no picture in this row")
    if content == b"":
        raise UnreadableImage("empty file")
    try:
        with _open_picture(io.BytesIO(content) if content else str(path)) as image:
            _check_pixel_count(image)
            image.load()
            return to_rgb(image, background)
    except UnreadableImage:
        raise
    except (
        Exception
    ) as error:  # decoders raise whatever the damage leads them to: OSError, SyntaxError, struct.error, ...
        raise UnreadableImage(_reason(error, path)) from error


def _open_picture(file: io.BytesIO | str) -> PILImage.Image:
    # PIL only warns between its limit and twice that; `_check_pixel_count` refuses.
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore", PILImage.DecompressionBombWarning)
        return PILImage.open(file)


def _check_pixel_count(image: PILImage.Image) -> None:
    limit = PILImage.MAX_IMAGE_PIXELS
    if limit is not None and image.width * image.height > limit:
        raise UnreadableImage(f"{image.width}x{image.height} pixels, PIL.Image.MAX_IMAGE_PIXELS allows {limit}")


def _reason(error: Exception, path: str | None) -> str:
    if isinstance(error, FileNotFoundError):
        return "file not found"
    if isinstance(error, PILImage.UnidentifiedImageError):
        empty = path is not None and os.path.isfile(path) and not os.path.getsize(path)
        return "empty file" if empty else "not a picture PIL can read"
    return first_line(error)
