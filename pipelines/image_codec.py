"""Pictures to files and back: the codes of an image tokenizer, written with the chances that a prior gives them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby, islice

import torch
from PIL import Image

from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..lm.code_chances import CodeChances
from ..lm.code_stream import decode_codes, encode_codes
from ..lm.codec_model import CodecModel, PriorModel, StaticModel
from ..lm.order import flatten, unflatten
from ..tokenizer.image_processor import to_images
from ..tokenizer.progress import progress_bar
from .bundle_pipeline import BundlePipeline, check_positive
from .codec_format import MAX_PIXELS, CodecFile, Group, PictureShape, context, read_file, read_model, write_file
from .codec_tiles import Tiling
from .picture_input import Picture, open_picture, picture_mode
from .text_to_image import TextToImagePipeline

_SQUARES_AT_ONCE = 64
"""That the image tokenizer encodes or decodes in one pass."""

RESTS = ("left out", "drawn")


@dataclass(frozen=True)
class CompressedImages:
    """A file.

    Attributes:
        data: its bytes.
        num_images: pictures in it.
        model_bits: what their codes take by the model, without rounding.
        payload_bytes: of the streams.
    """

    data: bytes
    num_images: int
    model_bits: float
    payload_bytes: int


@dataclass(frozen=True)
class DecompressedImages:
    """Pictures out of a file.

    Attributes:
        images: of the size and the mode, "RGB" or "L", that went in.
        names: theirs; empty if the file has none.
    """

    images: list[Image.Image]
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Pictures:
    """Pictures of one shape, opened."""

    shape: PictureShape
    images: list[Image.Image]


class ImageCodec(BundlePipeline):
    """Compresses pictures with a bundle, and reads them again.

    Pictures of any size are cut into squares of the size that the image tokenizer was trained for. Streams are written
    with the prior, in float64 on the CPU, or, with `static`, with counted tables: faster, longer, and read by any
    computer whatever its arithmetic. A file names the model it needs, and is refused by any other.

    Args:
        bundle: the prior and the image tokenizer.

    Example:
        codec = ImageCodec.from_pretrained("bundle")
        file = codec.compress(["cat.png", "dog.jpg"])
        print(len(file.data), file.model_bits / 8)
        codec.decompress(file.data).images[1].show()
    """

    def __init__(self, bundle: Bundle):
        super().__init__(bundle)
        self.side = bundle.image_tokenizer.config.image_size
        self.grids = bundle.image_tokenizer.config.grids(self.side, self.side)

    def compress(
        self,
        pictures: Picture | Sequence[Picture],
        *,
        names: Sequence[str] = (),
        num_levels: int | None = None,
        static: bool = False,
        group_size: int = 128,
        verify: bool = True,
        progress: bool = False,
    ) -> CompressedImages:
        """Pictures to one file: of one picture without a name the short form, else an archive.

        Args:
            pictures: PIL pictures or paths; grey ones come out grey, all others in RGB.
            names: one for each, kept in the file.
            num_levels: levels of codes that are kept, coarse to fine; None keeps all.
            static: write with the bundle's tables in place of its prior.
            group_size: pictures that share a stream. A stream takes about 8 bytes beside its codes, and to read one
                picture its whole stream must be read.
            verify: read each stream again, which takes as long as decompressing.
            progress: shows a bar on a terminal.

        Raises:
            InputError: an unreadable picture, or one too large; colours for a grey model; names that do not fit; levels
                out of range or, in `pyramid` order, not all; a prior that cannot be used, or missing tables.
        """
        several = [pictures] if isinstance(pictures, str | os.PathLike | Image.Image) else list(pictures)
        self._check(several, names, num_levels, group_size)
        kept = 0 if num_levels in (None, len(self.grids)) else num_levels
        model = self._static if static else self._prior
        chances, is_archive = model.chances(self.grids), len(several) > 1 or bool(names)
        groups: list[Group] = []
        bits = 0.0
        with progress_bar("compressed", len(several), enabled=progress) as advance:
            for part in self._groups(several, kept, group_size):
                first = groups[-1].first + groups[-1].count if groups else 0
                around = context(model.model_id, is_archive, len(several), first, len(part.images), part.shape)
                codes = self._codes(part)[:, : self._num_codes(kept)]
                stream = encode_codes(chances, codes, around)
                if verify:
                    decode_codes(chances, stream.payload, stream.checksum, len(codes), codes.shape[1], around)
                groups.append(Group(first, len(part.images), part.shape, stream.checksum, stream.payload))
                bits += float(stream.bits.sum())
                advance(len(part.images))
        file = CodecFile(model.model_id, tuple(groups), tuple(names), is_archive)
        return CompressedImages(write_file(file, self.native), file.num_pictures, bits, file.payload_bytes)

    def decompress(
        self,
        data: bytes,
        *,
        indices: Sequence[int] | None = None,
        rest: str = "left out",
        seed: int = 0,
        progress: bool = False,
    ) -> DecompressedImages:
        """A file to pictures.

        Args:
            data: the whole file.
            indices: numbers of the pictures that are wanted, in this order; None takes all. Only streams that hold one
                of them are read.
            rest: what becomes of levels that the file does not keep: "left out", or "drawn" by the prior.
            seed: of the first picture's drawing; later ones count up.
            progress: shows a bar on a terminal.

        Raises:
            InputError: no such file, one that needs another model, that is damaged, or that has no such picture.
        """
        if rest not in RESTS:
            raise InputError(f"rest must be one of {', '.join(RESTS)}, got {rest!r}")
        model = self._model(read_model(data))
        file = read_file(data, self.native)
        wanted = range(file.num_pictures) if indices is None else _checked_indices(indices, file.num_pictures)
        found: dict[int, Image.Image] = {}
        chosen = [group for group in file.groups if any(group.first <= i < group.first + group.count for i in wanted)]
        with progress_bar("decompressed", sum(group.count for group in chosen), enabled=progress) as advance:
            for group in chosen:
                images = self._read(model.chances(self.grids), file, group, rest == "drawn", seed)
                found |= dict(enumerate(images, group.first))
                advance(group.count)
        names = tuple(file.names[index] for index in wanted) if file.names else ()
        return DecompressedImages([found[index] for index in wanted], names)

    def inspect(self, data: bytes) -> CodecFile:
        """What a file says of itself; no stream is read.

        Raises:
            InputError: no such file, one that needs another model, or that is damaged where that can be seen.
        """
        self._model(read_model(data))
        return read_file(data, self.native)

    @property
    def native(self) -> tuple[int, int]:
        """Height and width, pixels, of pictures that need not say theirs."""
        return self.side, self.side

    @cached_property
    def _prior(self) -> PriorModel:
        return PriorModel(self.bundle)

    @cached_property
    def _static(self) -> StaticModel:
        return StaticModel(self.bundle)

    def _model(self, model_id: bytes) -> CodecModel:
        """The prior or the tables, whichever a file asks for."""
        models: list[CodecModel] = [self._prior]
        if self.bundle.static_chances is not None:
            models.append(self._static)
        for model in models:
            if model.model_id == model_id:
                return model
        there = ", ".join(model.model_id.hex() for model in models)
        raise InputError(
            f"the file was written with model {model_id.hex()}, but {self.bundle.name or 'this bundle'} is {there}; "
            "give the bundle that it was compressed with"
        )

    def _check(
        self, pictures: Sequence[Picture], names: Sequence[str], num_levels: int | None, group_size: int
    ) -> None:
        if not pictures:
            raise InputError("at least one picture is expected, got none")
        check_positive("group_size", group_size)
        if names and (len(names) != len(pictures) or any("\n" in name or not name for name in names)):
            raise InputError(f"{len(names)} names for {len(pictures)} pictures, expected one for each, on one line")
        most = len(self.grids)
        if num_levels is not None and not 1 <= num_levels <= most:
            raise InputError(f"num_levels must be 1 to {most}, got {num_levels}")
        if num_levels not in (None, most) and self.bundle.vocabulary.order != "level":
            raise InputError(f"in {self.bundle.vocabulary.order} order all {most} levels are kept, got {num_levels}")

    def _groups(self, pictures: Sequence[Picture], num_levels: int, group_size: int) -> Iterator[_Pictures]:
        """Neighbours of one shape, as many as may share a stream."""
        for shape, alike in groupby(map(self._open, pictures), key=lambda opened: opened.shape):
            most = max(1, min(group_size, MAX_PIXELS // (shape.height * shape.width)))
            images = (opened.images[0] for opened in alike)
            while part := list(islice(images, most)):
                yield _Pictures(replace(shape, num_levels=num_levels), part)

    def _open(self, picture: Picture) -> _Pictures:
        processor = self.bundle.image_processor
        is_grey = picture_mode(picture) == "L"
        if processor.num_channels == 1 and not is_grey:
            raise InputError(f"{picture} has colours, but the model knows grey pictures only; convert it to mode L")
        image = open_picture(picture, processor.background_colour)
        if image.width * image.height > MAX_PIXELS:
            raise InputError(f"{picture} has {image.width}x{image.height} pixels, at most {MAX_PIXELS} are compressed")
        return _Pictures(PictureShape(image.height, image.width, is_grey), [image])

    def _codes(self, pictures: _Pictures) -> torch.Tensor:
        """(B * squares, N) codes in document order."""
        tiling, model = self._tiling(pictures.shape), self.bundle.image_tokenizer
        together = max(1, _SQUARES_AT_ONCE // tiling.count)
        blank = Image.new("RGB", (1, 1), self.bundle.image_processor.background_colour)
        background = self._pixels([blank])[0, :, 0, 0]
        codes: list[torch.Tensor] = []
        for first in range(0, len(pictures.images), together):
            squares = tiling.cut(self._pixels(pictures.images[first : first + together]), background)
            for part in squares.split(_SQUARES_AT_ONCE):
                codes.append(flatten(model.encode(part.to(model.device)), self.bundle.vocabulary.order).cpu())
        return torch.cat(codes)

    def _pixels(self, images: list[Image.Image]) -> torch.Tensor:
        """(B, C, H, W) of pictures of one size, which they keep."""
        return self.bundle.image_processor(images, do_resize=False, do_pad=False, return_tensors="pt")["pixel_values"]

    def _num_codes(self, num_levels: int) -> int:
        return sum(rows * columns for rows, columns in self.grids[: num_levels or len(self.grids)])

    def _tiling(self, shape: PictureShape) -> Tiling:
        return Tiling.of(shape.height, shape.width, self.side, bool(self.bundle.image_processor.do_pad))

    def _read(self, chances: CodeChances, file: CodecFile, group: Group, drawn: bool, seed: int) -> list[Image.Image]:
        """The pictures of a group."""
        shape = group.shape
        if shape.num_levels >= len(self.grids):
            raise InputError(f"the file is damaged: {shape.num_levels} levels of {len(self.grids)}")
        tiling = self._tiling(shape)
        around = context(file.model, file.is_archive, file.num_pictures, group.first, group.count, shape)
        count = group.count * tiling.count
        codes = decode_codes(chances, group.payload, group.checksum, count, self._num_codes(shape.num_levels), around)
        squares = self._squares(codes, shape.num_levels, drawn, seed + group.first)
        return [
            image.convert("L") if shape.is_grey else image
            for part in squares.split(tiling.count)
            for image in to_images(tiling.join(part))
        ]

    def _squares(self, codes: torch.Tensor, num_levels: int, drawn: bool, seed: int) -> torch.Tensor:
        """(B, M) codes -> (B, C, side, side) in [-1, 1]."""
        model, order = self.bundle.image_tokenizer, self.bundle.vocabulary.order
        kept = num_levels or len(self.grids)
        levels = unflatten(codes, self.grids[:kept], order)
        if drawn and num_levels:
            pipeline = TextToImagePipeline(self.bundle)
            levels = pipeline([""] * len(codes), coarse_codes=levels, seed=seed).codes
            kept = len(self.grids)
        parts = zip(*(level.split(_SQUARES_AT_ONCE) for level in levels), strict=True)
        with torch.no_grad():
            return torch.cat([model.decode([level.to(model.device) for level in part], kept).cpu() for part in parts])


def _checked_indices(indices: Sequence[int], count: int) -> Sequence[int]:
    for index in indices:
        if not 0 <= index < count:
            raise InputError(f"there is no picture {index}: the file has {count}, counted from 0")
    return indices
