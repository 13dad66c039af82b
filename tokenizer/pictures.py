"""Grids of pictures with words under them, for people to look at."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Mapping, Sequence

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from ..hub.files import atomic_write_bytes
from .image_processor import to_images
from .interface import TokenizesImages
from .reconstructions import decode_prefixes

_MARGIN = 6
_LINE = 14
_LONG_TEXT = 512
_BACKGROUND, _INK = (255, 255, 255), (40, 40, 40)


def picture_grid(
    rows: Sequence[Sequence[Image.Image]],
    *,
    titles: Sequence[Sequence[str] | None] | None = None,
    header: Sequence[str] | None = None,
    cell: int = 96,
) -> Image.Image:
    """Lays pictures out in rows.

    Args:
        rows: pictures, any sizes; each is scaled to fit `cell`, small ones by whole pixels.
        titles: one per picture, below it, wrapped to two lines; None, of a row or of all, leaves no room for them.
        header: one per column, above it.
        cell: side of a picture's place, pixels.
    """
    num_columns = max(len(row) for row in rows)
    words_of_rows = titles or [None] * len(rows)
    step_x, steps_y = cell + _MARGIN, [cell + _MARGIN + (0 if words is None else 2 * _LINE) for words in words_of_rows]
    tops = list(itertools.accumulate(steps_y, initial=_MARGIN + (_LINE + _MARGIN if header else 0)))
    sheet = Image.new("RGB", (num_columns * step_x + _MARGIN, tops[-1]), _BACKGROUND)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, words in enumerate(header or ()):
        draw.text((_MARGIN + column * step_x, _MARGIN), words, fill=_INK, font=font)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            x, y = _MARGIN + c * step_x, tops[r]
            sheet.paste(_fit(image, cell), (x, y))
            if (words := words_of_rows[r]) is not None:
                for n, line in enumerate(_wrap(words[c], draw, font, cell)):
                    draw.text((x, y + cell + n * _LINE), line, fill=_INK, font=font)
    return sheet


def reconstruction_grid(model: TokenizesImages, pixel_values: torch.Tensor, *, cell: int = 96) -> Image.Image:
    """(B, C, H, W) in [-1, 1] -> one row a picture: the original beside its decoding from every prefix of levels.

    A prefix that the tokenizer does not decode has no column.
    """
    codes = model.encode(pixel_values)
    columns, header = [to_images(pixel_values)], ["original"]
    for num_levels, decoded in enumerate(decode_prefixes(model, codes), 1):
        if decoded is not None:
            count = sum(level[0].numel() for level in codes[:num_levels])
            columns.append(to_images(decoded))
            header.append(f"{count} code{'s' if count > 1 else ''}")
    return picture_grid(list(zip(*columns, strict=True)), header=header, cell=cell)


def save_picture(image: Image.Image, path: str | os.PathLike[str], text: Mapping[str, str] | None = None) -> None:
    """Writes a PNG atomically, see `png_bytes`."""
    atomic_write_bytes(path, png_bytes(image, text))


def png_bytes(image: Image.Image, text: Mapping[str, str] | None = None) -> bytes:
    """A PNG without a date or other varying metadata: equal pictures make equal files.

    Args:
        image: any.
        text: text chunks by their keywords, in any language.
    """
    chunks = PngInfo()
    for keyword, words in (text or {}).items():
        chunks.add_itxt(keyword, words, zip=len(words) > _LONG_TEXT)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", pnginfo=chunks)
    return buffer.getvalue()


def _fit(image: Image.Image, cell: int) -> Image.Image:
    image = image.convert("RGB")
    longest = max(image.size)
    if longest <= cell:
        factor = cell // longest
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    scale = cell / longest
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _wrap(
    words: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int
) -> list[str]:
    """At most two lines that fit `width`; what is left out becomes an ellipsis."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font=font) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > 2:
        lines = [lines[0], lines[1] + "…"]
    return [_shorten(line, draw, font, width) for line in lines]


def _shorten(
    line: str, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int
) -> str:
    while line.rstrip("…") and draw.textlength(line, font=font) > width:
        line = line.rstrip("…")[:-1] + "…"
    return line
