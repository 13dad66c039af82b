"""Pictures to files and back: the codes of an image tokenizer, written with the chances that a prior gives them."""

from __future__ import annotations

import os
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from PIL import Image

from ..hub.errors import InputError
from ..lm.ancestor_bundle import ancestor_bundle
from ..lm.bundle import Bundle
from ..lm.code_chances import CodeChances
from ..lm.code_stream import decode_codes, encode_codes
from ..lm.codec_model import CodecModel, PriorModel, StaticModel
from ..tokenizer.distortion_scales import distortion_scales
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.progress import progress_bar
from .bundle_pipeline import BundlePipeline, check_positive
from .codec_format import (
    MAX_LEVELS,
    MAX_NAME_BYTES,
    MAX_NAMES_BYTES,
    CodecFile,
    Group,
    context,
    read_file,
    read_model,
    write_file,
)
from .codec_squares import Chooser, CodecSquares
from .picture_input import Picture
from .rate_distortion import RateDistortion, cautious
from .text_to_image import TextToImagePipeline

_NUM_WEIGHED = 64
"""Squares on which errors are weighed."""

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


class ImageCodec(BundlePipeline):
    """Compresses pictures with a bundle, and reads them again.

    Pictures of any size are cut into squares of the size that the image tokenizer was trained for. Streams are written
    with the prior, in float64 on the CPU, or, with `static`, with counted tables: faster, longer, and read by any
    computer whatever its arithmetic. A file names the model it needs, and is refused by any other. A bundle that was
    grown from another reads that one's files as well, as long as none of its old rows has changed.

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
        self.squares = CodecSquares(bundle)
        self._known_scales: dict[int, Sequence[float]] = {}
        self._ancestors: dict[bytes, ImageCodec] = {}

    def compress(
        self,
        pictures: Picture | Sequence[Picture],
        *,
        names: Sequence[str] = (),
        num_levels: int | None = None,
        rate_weight: float = 0.0,
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
            rate_weight: squared error, of pixels of 0 to 255, that one bit is worth: codes are chosen by both, see
                `rate_distortion`; 0 leaves the choice to the image tokenizer.
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
        self._check(several, names, num_levels, rate_weight, group_size)
        grids = self.squares.grids
        kept = 0 if num_levels in (None, len(grids)) else num_levels
        model = self._static if static else self._prior
        chances, is_archive = model.chances(grids), len(several) > 1 or bool(names)
        choose = self._chooser(model, rate_weight, kept or len(grids), several) if rate_weight else None
        groups: list[Group] = []
        bits = 0.0
        with progress_bar("compressed", len(several), enabled=progress) as advance:
            for part in self.squares.groups(several, kept, group_size):
                first = groups[-1].first + groups[-1].count if groups else 0
                around = context(model.model_id, is_archive, len(several), first, len(part.images), part.shape)
                codes = self.squares.codes(part, choose)
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
            seed: of the first square's drawing; later ones count up.
            progress: shows a bar on a terminal.

        Raises:
            InputError: no such file, one that needs another model, that is damaged, or that has no such picture.
        """
        if rest not in RESTS:
            raise InputError(f"rest must be one of {', '.join(RESTS)}, got {rest!r}")
        if (ancestor := self._ancestor(read_model(data))) is not None:
            return ancestor.decompress(data, indices=indices, rest=rest, seed=seed, progress=progress)
        model = self._model(read_model(data))
        file = read_file(data, self.native)
        wanted = range(file.num_pictures) if indices is None else _checked_indices(indices, file.num_pictures)
        found: dict[int, Image.Image] = {}
        chances, squares_before, squares = model.chances(self.squares.grids), dict[int, int](), 0
        for group in file.groups:
            squares_before[group.first] = squares
            squares += group.count * self.squares.tiling(group.shape).count
        chosen = list(file.groups)
        if indices is not None:
            starts = [group.first for group in file.groups]
            chosen = [file.groups[place] for place in sorted({bisect_right(starts, index) - 1 for index in indices})]
        with progress_bar("decompressed", sum(group.count for group in chosen), enabled=progress) as advance:
            for group in chosen:
                images = self._read(chances, file, group, rest == "drawn", seed + squares_before[group.first])
                found |= dict(enumerate(images, group.first))
                advance(group.count)
        names = tuple(file.names[index] for index in wanted) if file.names else ()
        return DecompressedImages([found[index] for index in wanted], names)

    def inspect(self, data: bytes) -> CodecFile:
        """What a file says of itself; no stream is read.

        Raises:
            InputError: no such file, one that needs another model, or that is damaged where that can be seen.
        """
        if self._ancestor(read_model(data)) is None:
            self._model(read_model(data))
        return read_file(data, self.native)

    def reader(self, data: bytes) -> str:
        """What of the bundle reads a file: "prior", "tables", or "ancestor" and its id.

        Raises:
            InputError: nothing does, or it is no such file.
        """
        model_id = read_model(data)
        if self._ancestor(model_id) is not None:
            return f"ancestor {model_id.hex()}"
        return "prior" if self._model(model_id) is self._prior else "tables"

    @property
    def native(self) -> tuple[int, int]:
        """Height and width, pixels, of pictures that need not say theirs."""
        return self.squares.side, self.squares.side

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
        older = ", ".join(ancestor.model_id for ancestor in self.bundle.vocabulary.ancestors)
        raise InputError(
            f"the file was written with model {model_id.hex()}, but {self.bundle.name or 'this bundle'} is {there}"
            f"{f', grown from {older}' if older else ''}; give the bundle that it was compressed with"
        )

    def _ancestor(self, model_id: bytes) -> ImageCodec | None:
        """The codec of the ancestor that wrote a file; None if none did.

        Raises:
            InputError: the bundle names the ancestor, but has changed since.
        """
        for ancestor in self.bundle.vocabulary.ancestors:
            if ancestor.model_id == model_id.hex() and model_id not in self._ancestors:
                self._ancestors[model_id] = ImageCodec(ancestor_bundle(self.bundle, ancestor))
        return self._ancestors.get(model_id)

    def _chooser(self, model: CodecModel, rate_weight: float, num_levels: int, pictures: Sequence[Picture]) -> Chooser:
        """Codes by rate and distortion.

        What errors are worth is measured on pictures that the prior draws, for the pictures at hand may be one or two,
        too few to tell; how far to trust that, on some of those at hand.
        """
        tokenizer, estimates = self.bundle.image_tokenizer, model.estimates(self.squares.grids)
        scales = self._scales(num_levels)
        assert isinstance(tokenizer, ImageTokenizer)  # `distortion_scales` refuses others
        some = self.squares.some(pictures, _NUM_WEIGHED).to(tokenizer.device)
        trade = RateDistortion(tokenizer, estimates, rate_weight, scales)
        trade = cautious(trade, some, num_levels, self.bundle.vocabulary.order)
        return lambda squares: trade.encode(squares.to(tokenizer.device), num_levels)

    def _scales(self, num_levels: int) -> Sequence[float]:
        """What errors of the first levels are worth, measured once."""
        if num_levels not in self._known_scales:
            tokenizer = self.bundle.image_tokenizer
            draw = TextToImagePipeline(self.bundle)
            drawn = draw([""] * _NUM_WEIGHED, temperature=1.0, top_k=0, top_p=1.0).codes  # fair draws
            pictures = tokenizer.decode([level.to(tokenizer.device) for level in drawn])
            self._known_scales[num_levels] = distortion_scales(tokenizer, pictures, num_levels)
        return self._known_scales[num_levels]

    def _check(
        self,
        pictures: Sequence[Picture],
        names: Sequence[str],
        num_levels: int | None,
        rate_weight: float,
        group_size: int,
    ) -> None:
        if not pictures:
            raise InputError("at least one picture is expected, got none")
        check_positive("group_size", group_size)
        if names and (len(names) != len(pictures) or any("\n" in name or not name for name in names)):
            raise InputError(f"{len(names)} names for {len(pictures)} pictures, expected one for each, on one line")
        _check_names(names)
        if num_levels not in (None, len(self.squares.grids)) and num_levels > MAX_LEVELS:
            raise InputError(f"a file counts at most {MAX_LEVELS} levels, or keeps all, got {num_levels}")
        if not 0 <= rate_weight < float("inf"):
            raise InputError(f"rate_weight must be 0 or more, got {rate_weight}")
        order, most = self.bundle.vocabulary.order, len(self.squares.grids)
        if num_levels is not None and not 1 <= num_levels <= most:
            raise InputError(f"num_levels must be 1 to {most}, got {num_levels}")
        if num_levels not in (None, most) and order != "level":
            raise InputError(f"in {order} order all {most} levels are kept, got {num_levels}")
        if rate_weight and order != "level":
            raise InputError(f"rate_weight needs codes in level order, coarse ones first; this prior has {order} order")

    def _read(self, chances: CodeChances, file: CodecFile, group: Group, drawn: bool, seed: int) -> list[Image.Image]:
        """The pictures of a group."""
        shape, squares = group.shape, self.squares
        if shape.num_levels >= len(squares.grids):
            raise InputError(f"the file is damaged: {shape.num_levels} levels of {len(squares.grids)}")
        around = context(file.model, file.is_archive, file.num_pictures, group.first, group.count, shape)
        count, each = group.count * squares.tiling(shape).count, squares.num_codes(shape.num_levels)
        codes = decode_codes(chances, group.payload, group.checksum, count, each, around)
        return squares.images(shape, codes, drawn, seed)


def _check_names(names: Sequence[str]) -> None:
    """Raises InputError for names that would not be read again."""
    for name in names:
        # Not only what is printable: macOS and phones put joiners and narrow spaces into names.
        is_text = all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in name)
        if not is_text or len(name.encode()) > MAX_NAME_BYTES:
            raise InputError(
                f"a name must be text without control characters, of at most {MAX_NAME_BYTES} bytes, got {name[:40]!r}"
            )
    together = len("\n".join(names).encode())
    if together > MAX_NAMES_BYTES:
        raise InputError(
            f"the names of a file take at most {MAX_NAMES_BYTES:,} bytes, got {together:,}; leave them out with "
            "--no-names, or make several files"
        )


def _checked_indices(indices: Sequence[int], count: int) -> Sequence[int]:
    for index in indices:
        if not 0 <= index < count:
            raise InputError(f"there is no picture {index}: the file has {count}, counted from 0")
    return indices
