"""Compression in the web app: one picture at every number of levels, beside the usual formats."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ..hub.errors import InputError
from ..tokenizer.image_processor import to_images
from ..tokenizer.pictures import png_bytes
from .app_model import AppModel
from .codec_format import MAX_PIXELS, read_file
from .curve_files import FileFormat, formats
from .curve_pictures import to_tensor
from .curve_quality import picture_quality

_SHOWN = ("JPEG", "WEBP", "AVIF")
_NAMES = {"JPEG": "JPEG", "WEBP": "WebP", "AVIF": "AVIF"}

_MAX_FILE_BYTES = 1 << 20
_MAX_FILE_IMAGES = 64
_MAX_FILE_PIXELS = MAX_PIXELS // 16


@dataclass(frozen=True, eq=False)
class FilePoint:
    """A file, and what comes out of it.

    Attributes:
        name: for people.
        data: the file.
        image: read from it.
        psnr: dB, against the picture that went in; infinite if nothing is lost.
        num_codes: that it holds; None for other formats.
        payload_bytes: of its codes, the header left out; None for other formats.
        note: the setting of another format, and why it is here.
    """

    name: str
    data: bytes
    image: Image.Image
    psnr: float
    num_codes: int | None = None
    payload_bytes: int | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Ladder:
    """A picture in files.

    Attributes:
        picture: that all of them hold: the uploaded one as the image tokenizer reads it.
        ours: compressed files with the first level, the first two, and so on.
        others: of other formats.
    """

    picture: Image.Image
    ours: list[FilePoint]
    others: list[FilePoint]


def compress_picture(model: AppModel, picture: Image.Image | str | None) -> Ladder:
    """Compresses one picture, reads every file again, and measures.

    Raises:
        InputError: no picture, or a prior that cannot be used for compression, see `ImageCodec`.
    """
    opened = to_images(model.encode(model.open(picture)).pixel_values)[0]
    kept = range(1, len(model.grids) + 1) if model.bundle.vocabulary.order == "level" else [len(model.grids)]
    ours = [_our_file(model, opened, num_levels) for num_levels in kept]
    return Ladder(opened, ours, other_files(opened, ours[-1].psnr))


def _our_file(model: AppModel, picture: Image.Image, num_levels: int) -> FilePoint:
    with model.lock:
        file = model.codec.compress(picture, num_levels=num_levels, verify=False)
        image = model.codec.decompress(file.data).images[0]  # that is the check
    count = model.codes_up_to(num_levels)
    name = f"{count} code{'s' if count > 1 else ''}"
    return FilePoint(name, file.data, image, _psnr(picture, image), count, file.payload_bytes)


def other_files(picture: Image.Image, wanted: float) -> list[FilePoint]:
    """PNG, and of every other format its smallest file and the smallest that is as good.

    Args:
        picture: RGB or grey.
        wanted: PSNR, dB.
    """
    pixels = to_tensor(picture)
    found = [FilePoint("PNG", png_bytes(picture), picture, float("inf"), note="nothing lost")]
    seen: set[str] = set()
    for file_format in formats(pixels.shape[-1]):
        if file_format.name not in _SHOWN or file_format.name in seen:
            continue
        seen.add(file_format.name)
        points = [_other_file(picture, pixels, file_format, quality) for quality in file_format.qualities]
        smallest = min(points, key=lambda point: len(point.data))
        found.append(smallest)
        good = [point for point in points if point.psnr >= wanted and point is not smallest]
        if smallest.psnr < wanted and good:
            found.append(min(good, key=lambda point: len(point.data)))
    return found


def _other_file(picture: Image.Image, pixels: torch.Tensor, file_format: FileFormat, quality: int) -> FilePoint:
    data = file_format.encode(pixels, quality)
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert(picture.mode)
    note = f"quality {quality}"
    return FilePoint(_NAMES[file_format.name], data, image, _psnr(picture, image), note=note)


def read_compressed(model: AppModel, path: str | None) -> list[Image.Image]:
    """The pictures of a compressed file that a visitor uploads.

    Raises:
        InputError: none, one of another model, one that is damaged, or one larger than the page reads.
    """
    if not path or not isinstance(path, str):
        raise InputError("there is no file yet: upload one that this page or `pictogram compress` made")
    file = Path(path)
    if not file.is_file() or file.stat().st_size > _MAX_FILE_BYTES:
        raise InputError(f"files of at most {_MAX_FILE_BYTES:,} bytes are read here")
    data = file.read_bytes()
    with model.lock:
        about = read_file(data, model.codec.native, with_names=False)  # a small file may hold millions of names
        pixels = sum(group.count * group.shape.height * group.shape.width for group in about.groups)
        if about.num_pictures > _MAX_FILE_IMAGES or pixels > _MAX_FILE_PIXELS:
            raise InputError(
                f"at most {_MAX_FILE_IMAGES} pictures and {_MAX_FILE_PIXELS:,} pixels are read here, the file has "
                f"{about.num_pictures:,} and {pixels:,}; `pictogram decompress` reads them all"
            )
        return model.codec.decompress(data).images


def _psnr(first: Image.Image, second: Image.Image) -> float:
    return picture_quality([to_tensor(first)], [to_tensor(second)]).psnr
