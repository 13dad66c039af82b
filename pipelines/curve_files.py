"""Standard picture files as points of a curve, their headers counted in three ways.

A header outweighs a small picture. "file": the whole file. "less header": its bytes less those of a file in the same
settings that holds one flat block. A flat picture of full size would not do: it holds a code word for every block,
which is no header (at 64x64 pixels 23 bytes in JPEG, 22 in WebP). "sheet": all pictures in one file, bytes per picture;
the codec also learns from the pictures before.
"""

from __future__ import annotations

import importlib
import importlib.util
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from .curve_pictures import to_tensor
from .curve_points import Point
from .curve_quality import picture_quality

WAYS = ("file", "less header", "sheet")
"""How headers count."""

_FLAT = 16  # pixels: one block of every format here

_LONGEST_SIDE = 16383
"""Of a sheet, pixels: WebP's."""

_JXL_PLUGIN = "pillow_jxl"


@dataclass(frozen=True)
class FileFormat:
    """A format with all settings but the one that trades bytes for quality.

    Attributes:
        name: Pillow's.
        options: for `Image.save`.
        qualities: what the traded setting is set to, from few bytes to many.
        note: of the options, for people.
    """

    name: str
    options: Mapping[str, int | bool | str]
    qualities: Sequence[int]
    note: str = ""

    def encode(self, pixels: torch.Tensor, quality: int) -> bytes:
        """(H, W, C) uint8 -> a file; C is 1 or 3."""
        content = io.BytesIO()
        traded = _jpeg2000(pixels, quality) if self.name == "JPEG2000" else {"quality": quality}
        Image.fromarray(pixels.squeeze(-1).numpy()).save(content, self.name, **traded, **self.options)
        return content.getvalue()

    def header_bytes(self, num_channels: int, quality: int) -> int:
        """Size of the file of one flat block."""
        return len(self.encode(torch.zeros(_FLAT, _FLAT, num_channels, dtype=torch.uint8), quality))


def formats(num_channels: int) -> list[FileFormat]:
    """JPEG, WebP, and of AVIF, JPEG 2000 and JPEG XL those that Pillow can write here.

    JPEG and AVIF with and without subsampled colour, if there is colour. JPEG XL comes with pillow-jxl-plugin; at its
    lowest qualities libjxl halves pictures before it encodes them, which costs more dB than it saves bytes here.
    """
    if importlib.util.find_spec(_JXL_PLUGIN):
        importlib.import_module(_JXL_PLUGIN)  # registers itself
    Image.init()
    chromas = ["4:2:0", "4:4:4"] if num_channels == 3 else ["4:0:0"]
    usual = (0, 1, 2, 5, 10, 15, 20, 25, 30, 40, 60)
    found = [FileFormat("JPEG", {"optimize": True} | _jpeg_chroma(chroma), usual, chroma) for chroma in chromas]
    found += [FileFormat("WEBP", {"method": 6}, usual)]
    found += [FileFormat("AVIF", {"speed": 4, "subsampling": chroma}, usual, chroma) for chroma in chromas]
    found += [FileFormat("JPEG2000", {"irreversible": True, "no_jp2": True}, (16, 18, 20, 22, 24, 26, 28, 30))]
    found += [FileFormat("JXL", {"effort": 9}, (0, 10, 15, 20, 25, 30, 40, 60))]
    return [file_format for file_format in found if file_format.name in Image.SAVE]


def file_points(
    pictures: Sequence[torch.Tensor] | torch.Tensor,
    ways: Sequence[str] = WAYS,
    qualities: Sequence[int] | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Iterator[Point]:
    """Rate and distortion of all formats and qualities; each way to count headers is a codec of its own.

    Args:
        pictures: (H, W, C) uint8 each, all with as many channels; or (N, H, W, C), which "sheet" needs. A sheet takes
            as many as fill rows and fit into 16383 pixels a side.
        ways: of `WAYS`.
        qualities: 0 to 100, for all formats but JPEG 2000; None takes those of each format.
        progress: called with 1 after each point.
    """
    for file_format in formats(pictures[0].shape[-1]):
        for quality in file_format.qualities if qualities is None else qualities:
            for way in ways:
                point = measure_files(pictures, file_format, quality, way)
                progress(1)
                yield point


def measure_files(
    pictures: Sequence[torch.Tensor] | torch.Tensor, file_format: FileFormat, quality: int, way: str
) -> Point:
    """Rate and distortion of one setting of one format; see `file_points`."""
    channels = pictures[0].shape[-1]
    if way == "sheet":
        assert isinstance(pictures, torch.Tensor)
        pictures, columns = _whole_rows(pictures)
        # Not padded to whole blocks: that costs more.
        content = file_format.encode(tile(pictures, columns), quality)
        decoded = untile(_decode(content, channels), columns, pictures.shape[1:3])
        size = len(content)
    else:
        contents = [file_format.encode(picture, quality) for picture in pictures]
        header = file_format.header_bytes(channels, quality) if way == "less header" else 0
        size = sum(len(content) - header for content in contents)
        each = (_decode(content, channels) for content in contents)
        decoded = torch.stack([*each]) if isinstance(pictures, torch.Tensor) else each
    found = picture_quality(pictures, decoded)
    setting = " ".join(filter(None, (f"q{quality}", file_format.note)))
    return Point(f"{file_format.name.lower()} {way}", setting, size / len(pictures), found.psnr, found.ssim)


def tile(pictures: torch.Tensor, columns: int) -> torch.Tensor:
    """(rows * columns, H, W, C) -> one picture (rows * H, columns * W, C)."""
    count, height, width, channels = pictures.shape
    grid = pictures.reshape(count // columns, columns, height, width, channels)
    return grid.permute(0, 2, 1, 3, 4).reshape(-1, columns * width, channels)


def untile(sheet: torch.Tensor, columns: int, size: Sequence[int]) -> torch.Tensor:
    """(rows * H, columns * W, C) -> (rows * columns, H, W, C), the way back."""
    height, width = size
    grid = sheet.reshape(-1, height, columns, width, sheet.shape[-1])
    return grid.permute(0, 2, 1, 3, 4).reshape(-1, height, width, sheet.shape[-1])


def _whole_rows(pictures: torch.Tensor) -> tuple[torch.Tensor, int]:
    """The pictures of a nearly square sheet and its columns; an incomplete last row, and what is too much, left out."""
    _, height, width, _ = pictures.shape
    columns = max(1, min(math.isqrt(len(pictures)), _LONGEST_SIDE // width))
    rows = max(1, min(len(pictures) // columns, _LONGEST_SIDE // height))
    return pictures[: rows * columns], columns


def _jpeg_chroma(chroma: str) -> dict[str, int | bool | str]:
    return {} if chroma == "4:0:0" else {"subsampling": chroma}  # grey JPEG has no such setting


def _jpeg2000(pixels: torch.Tensor, decibels: int) -> dict[str, Any]:
    """A quality in dB, and no more halvings than the picture has room for."""
    halvings = int(math.log2(min(pixels.shape[:2])))
    options = {"quality_mode": "dB", "quality_layers": [decibels], "num_resolutions": min(6, halvings + 1)}
    return options | {"mct": 1} if pixels.shape[-1] == 3 else options  # a colour transform, not Pillow's default


def _decode(content: bytes, num_channels: int) -> torch.Tensor:
    """A file -> (H, W, C) uint8."""
    with Image.open(io.BytesIO(content)) as image:
        return to_tensor(image.convert("L" if num_channels == 1 else "RGB"))
