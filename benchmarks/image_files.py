"""Standard picture files, their headers discounted in two ways.

A header outweighs a small picture. "less header": the bytes of every file less those of a file in the same settings
that holds one flat block. A flat picture of full size would not do: it holds a code word for every block, which is no
header (at 64x64 pixels 23 bytes in JPEG, 22 in WebP). "sheet": all pictures in one file, bytes per picture; the codec
also learns from the pictures before. Both are points of the codec's curve, so that its frontier takes the better one.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from curves import Point
from patches import squared_error
from PIL import Image

from pictogram.tokenizer.distortion import psnr

_FLAT = 16  # pixels: one block of every format here


@dataclass(frozen=True)
class FileFormat:
    """A format with its settings but the quality.

    Attributes:
        name: Pillow's.
        options: for `Image.save`.
        note: of the options, for people.
    """

    name: str
    options: dict[str, int | bool | str]
    note: str = ""

    def encode(self, pixels: torch.Tensor, quality: int) -> bytes:
        """(H, W, C) uint8 -> a file; C is 1 or 3."""
        content = io.BytesIO()
        Image.fromarray(pixels.squeeze(-1).numpy()).save(content, self.name, quality=quality, **self.options)
        return content.getvalue()

    def header_bytes(self, num_channels: int, quality: int) -> int:
        """Size of the file of one flat block."""
        return len(self.encode(torch.zeros(_FLAT, _FLAT, num_channels, dtype=torch.uint8), quality))


def formats(num_channels: int) -> list[FileFormat]:
    """JPEG and AVIF with and without subsampled colour if there is colour, and WebP; AVIF where Pillow can write it."""
    chromas = ["4:2:0", "4:4:4"] if num_channels == 3 else ["4:0:0"]
    jpegs = [FileFormat("JPEG", {"optimize": True} | _jpeg_chroma(chroma), chroma) for chroma in chromas]
    avifs = [FileFormat("AVIF", {"speed": 4, "subsampling": chroma}, chroma) for chroma in chromas]
    Image.init()
    return [*jpegs, FileFormat("WEBP", {"method": 6}), *(avifs if "AVIF" in Image.SAVE else [])]


def file_points(pictures: torch.Tensor, qualities: Sequence[int]) -> Iterator[Point]:
    """Rate and distortion of all formats, qualities and both ways to discount headers.

    Args:
        pictures: (N, H, W, C) uint8.
        qualities: 0..100, the same for all formats.
    """
    for file_format in formats(pictures.shape[-1]):
        for quality in qualities:
            for way, measure in (("less header", single_files), ("sheet", sheet)):
                num_bytes, decibels = measure(pictures, file_format, quality)
                setting = " ".join(filter(None, (f"q{quality}", file_format.note, way)))
                yield Point(file_format.name.lower(), setting, num_bytes, decibels)


def single_files(pictures: torch.Tensor, file_format: FileFormat, quality: int) -> tuple[float, float]:
    """Bytes per picture without the header and dB, every picture in a file of its own."""
    header, size, error = file_format.header_bytes(pictures.shape[-1], quality), 0, 0.0
    for picture in pictures:
        content = file_format.encode(picture, quality)
        size += len(content) - header
        error += squared_error(picture, _decode(content, pictures.shape[-1]))
    return size / len(pictures), psnr(error / pictures.numel())


def sheet(pictures: torch.Tensor, file_format: FileFormat, quality: int) -> tuple[float, float]:
    """Bytes per picture and dB, all pictures in one file. They are not padded to whole blocks: that costs more."""
    tiled = tile(pictures)
    content = file_format.encode(tiled, quality)
    error = squared_error(tiled, _decode(content, pictures.shape[-1])) / tiled.numel()
    return len(content) * pictures[0].numel() / tiled.numel(), psnr(error)


def tile(pictures: torch.Tensor) -> torch.Tensor:
    """(N, H, W, C) -> one picture (rows * H, columns * W, C), nearly square; an incomplete last row is left out."""
    columns = math.isqrt(len(pictures))
    rows = len(pictures) // columns
    _, height, width, channels = pictures.shape
    grid = pictures[: rows * columns].view(rows, columns, height, width, channels)
    return grid.permute(0, 2, 1, 3, 4).reshape(rows * height, columns * width, channels)


def _jpeg_chroma(chroma: str) -> dict[str, int | bool | str]:
    return {} if chroma == "4:0:0" else {"subsampling": chroma}  # grey JPEG has no such setting


def _decode(content: bytes, num_channels: int) -> torch.Tensor:
    """A file -> (H, W, C) float32."""
    with Image.open(io.BytesIO(content)) as image:
        pixels = np.array(image.convert("L" if num_channels == 1 else "RGB"), dtype=np.float32)
    return torch.from_numpy(pixels).view(*pixels.shape[:2], num_channels)
