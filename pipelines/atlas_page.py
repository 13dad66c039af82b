"""One HTML page that needs nothing else: sheets of pictures and all figures lie inside it."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..hub.errors import InputError
from ..hub.files import atomic_write_text
from .atlas_tiles import SymbolTiles

_TITLE = "Atlas of symbols"
_TEMPLATE = Path(__file__).with_name("atlas.html")
_SYMBOLS_PER_SHEET = 64
_MOST_SIDE = 64
"""Pixels of a tile's longer side; larger pictures are shrunk."""
_QUALITY = 90
"""Of WebP, lossy: thousands of tiles must load within a second."""


def write_page(atlas: dict[str, Any], output: Path) -> Path:
    """Writes `index.html`, and a `README.md` that makes the folder a static Space of the Hub.

    Args:
        atlas: what the page shows, see `symbol_atlas.build_atlas`.
        output: folder.

    Returns:
        The page's path.

    Raises:
        InputError: the folder has a README of something else.
    """
    check_page_folder(output)
    output.mkdir(parents=True, exist_ok=True)
    template = _TEMPLATE.read_text(encoding="utf-8")
    text = json.dumps(atlas, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Inside a script element "</script>" or "<!--" would end or change it, whatever the language says of strings.
    page = template.replace("/*ATLAS*/", text.replace("<", "\\u003c"))
    atomic_write_text(output / "index.html", page)
    header = {"title": _TITLE, "sdk": "static", "pinned": False}
    lines = [f"{key}: {json.dumps(value)}" for key, value in header.items()]
    atomic_write_text(
        output / "README.md", "\n".join(["---", *lines, "---", "", atlas["title"], "", atlas["about"], ""])
    )
    return output / "index.html"


def check_page_folder(output: Path) -> None:
    """Raises InputError where a page would take the place of something else."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is no folder")
    readme = output / "README.md"
    is_atlas = readme.exists() and _TITLE in readme.read_text(encoding="utf-8", errors="replace")
    for path in (readme, output / "index.html"):
        if path.exists() and not is_atlas:
            raise InputError(f"{output} has a {path.name} that is not of an atlas; give another folder")


def sheets(tiles: Sequence[SymbolTiles], num_examples: int, num_swaps: int) -> dict[str, Any]:
    """The pictures of one level for the page.

    Args:
        tiles: of all symbols, by number.
        num_examples: places for examples of each; there may be fewer.
        num_swaps: places for swaps of each, besides one for the picture as it is.

    Returns:
        `tile`: width and height of one, pixels; `prototypes` and `prototype_columns`; `sheets`, each with the examples
        and swaps of `symbols_per_sheet` symbols, one row a symbol and `slots` columns; `swaps`. Sheets are data URIs.
    """
    size = _tile_size(tiles[0].prototype)
    columns = math.ceil(math.sqrt(len(tiles)))
    prototypes = [tile.prototype for tile in tiles]
    rows = [_slots(tile, num_examples, num_swaps) for tile in tiles]
    parts = [rows[first : first + _SYMBOLS_PER_SHEET] for first in range(0, len(rows), _SYMBOLS_PER_SHEET)]
    return {
        "tile": list(size),
        "prototypes": _sheet([prototypes[first : first + columns] for first in range(0, len(tiles), columns)], size),
        "prototype_columns": columns,
        "sheets": [_sheet(part, size) for part in parts],
        "symbols_per_sheet": _SYMBOLS_PER_SHEET,
        "slots": num_examples + 1 + num_swaps,
        "swaps": num_swaps,
    }


def _slots(tile: SymbolTiles, num_examples: int, num_swaps: int) -> list[torch.Tensor | None]:
    examples = [*tile.examples, *[None] * num_examples][:num_examples]
    return [*examples, tile.original, *[*tile.swapped, *[None] * num_swaps][:num_swaps]]


def _tile_size(picture: torch.Tensor) -> tuple[int, int]:
    """Width and height of a (C, h, w) picture on a sheet."""
    height, width = picture.shape[1:]
    scale = min(1.0, _MOST_SIDE / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _sheet(rows: Sequence[Sequence[torch.Tensor | None]], size: tuple[int, int]) -> str:
    """(C, h, w) uint8 pictures in rows, as a data URI; None leaves a place white."""
    width, height = size
    sheet = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), (255, 255, 255))
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            if picture is not None:
                sheet.paste(_image(picture, size), (c * width, r * height))
    buffer = io.BytesIO()
    sheet.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def _image(picture: torch.Tensor, size: tuple[int, int]) -> Image.Image:
    channels = picture.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(channels)
    return image if image.size == size else image.resize(size, Image.Resampling.BOX)
