"""Pictures from any source: the embedded set, a folder, parquet files or the name of a dataset.

A source is opened once and read row by row. A row that cannot be read raises `UnreadableImage` with the reason;
`find_unreadable` lists such rows in one pass, so that a few bad files never cost the good ones.
"""

from __future__ import annotations

import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Dataset, Image, LargeList, List, Value
from datasets.features.features import FeatureType
from PIL import Image as PILImage
from torch.utils.data import Dataset as TorchDataset

from ..hub.errors import InputError, first_line
from .image_processor import ImageTokenizerImageProcessorPil
from .padding import Box
from .rgb import WHITE, to_rgb
from .sources import open_rows

CAPTION_COLUMNS = ("caption", "text", "name")
"""Columns taken for captions when none is named, in this order."""

Progress = Callable[[int], None]
"""Called with the number of rows done since the last call."""

_CACHE_BYTES = 512 * 1024**2


class UnreadableImage(InputError):  # noqa: N818
    """One picture that cannot be read; the message is the reason."""


@dataclass(frozen=True)
class Failure:
    """A row that could not be used.

    Attributes:
        index: row number in the source that was read.
        key: the row's key.
        reason: one line.
    """

    index: int
    key: str
    reason: str


@dataclass(frozen=True)
class ClassLabels:
    """The class of every row.

    Attributes:
        column: where they stand.
        names: of the classes.
        values: (N,) int64, 0..len(names) - 1; -1 for a row without.
    """

    column: str
    names: tuple[str, ...]
    values: torch.Tensor


@dataclass(frozen=True)
class ImageSource:
    """Rows with a picture each, not decoded until read. Made by `load_image_source`.

    Attributes:
        name: what the user called it, for messages.
        dataset: the rows; the picture's column holds `{"bytes", "path"}`.
        image_column: name of the picture's column.
        caption_column: name of the column with captions (text, a list of texts, or a class label), or None.
        keys: one unique name a row, which stays when other rows are left out: the file's path relative to the folder
            where there is one, else "row-" and the row's number.
    """

    name: str
    dataset: Dataset
    image_column: str
    caption_column: str | None
    keys: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.dataset)

    def key(self, index: int) -> str:
        """The row's stable name."""
        return self.keys[index]

    def read(self, index: int, background: tuple[int, int, int] = WHITE) -> PILImage.Image:
        """The row's picture in RGB.

        Raises:
            UnreadableImage: with the reason.
        """
        return decode_row(self._pictures[index][self.image_column], background)

    def captions(self, index: int) -> list[str]:
        """The row's captions, at least one; a row without any has the empty caption."""
        if self.caption_column is None:
            return [""]
        value = self._captions[index][self.caption_column]
        if self._class_names is not None:
            return [self._class_names[value] if value is not None and value >= 0 else ""]  # -1 stands for "no label"
        texts = value if isinstance(value, list) else [value]
        return [text or "" for text in texts] or [""]

    def class_labels(self) -> ClassLabels | None:
        """The first column of class labels, or None if there is none."""
        for column, feature in self.dataset.features.items():
            if isinstance(feature, ClassLabel):
                values = [-1 if value is None else value for value in self.dataset[column]]
                return ClassLabels(column, tuple(feature.names), torch.tensor(values, dtype=torch.int64))
        return None

    def select(self, indices: Iterable[int]) -> ImageSource:
        """The source with these rows only, in this order."""
        indices = [int(index) for index in indices]
        return replace(self, dataset=self.dataset.select(indices), keys=tuple(self.keys[index] for index in indices))

    def without(self, failures: Iterable[Failure]) -> ImageSource:
        """The source without the rows that failed."""
        bad = {failure.index for failure in failures}
        return self.select(index for index in range(len(self)) if index not in bad) if bad else self

    # One column each, kept: a column costs less to read alone, and opening it costs more than reading a row.
    @cached_property
    def _pictures(self) -> Dataset:
        return self.dataset.select_columns([self.image_column])

    @cached_property
    def _captions(self) -> Dataset:
        return self.dataset.select_columns([self.caption_column] if self.caption_column is not None else [])

    @cached_property
    def _class_names(self) -> list[str] | None:
        feature = self.dataset.features.get(self.caption_column)
        return feature.names if isinstance(feature, ClassLabel) else None


def load_image_source(source: str, split: str | None = "train", caption_column: str | None = None) -> ImageSource:
    """Opens pictures and their captions.

    Args:
        source: "embedded"; a folder of pictures, nested or not, with `metadata.jsonl`, `metadata.csv` or class folders
            as the `imagefolder` builder of `datasets` reads them; a parquet file or a folder of them; a dataset's name.
            Top folders or parquet files named after a split ("train", "test", "validation", ...) are its splits; a
            folder without them is all "train"; a parquet file given by itself is read whole, whatever the split.
        split: the split to open; None opens all.
        caption_column: the column with the captions. By default the first of "caption", "text", "name" that holds text,
            else a class label's names, else every caption is empty.

    Raises:
        InputError: one line that says what is missing.
    """
    rows = open_rows(source, split)
    image_column = _find_image_column(rows.dataset, source)
    dataset = rows.dataset.cast_column(image_column, Image(decode=False))
    keys = _keys(dataset, image_column, rows.folder)
    return ImageSource(source, dataset, image_column, _find_caption_column(dataset, source, caption_column), keys)


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


def find_unreadable(source: ImageSource, progress: Progress | None = None) -> list[Failure]:
    """Reads every picture once and lists those that cannot be read.

    Raises:
        InputError: not one picture can be read.
    """
    failures = []
    for index in range(len(source)):
        try:
            source.read(index)
        except UnreadableImage as error:
            failures.append(Failure(index, source.key(index), str(error)))
        if progress is not None:
            progress(1)
    if len(failures) == len(source):
        raise InputError(f"none of the {len(source)} pictures of {source.name} can be read: {_summary(failures)}")
    return failures


def _summary(failures: Sequence[Failure]) -> str:
    """One line: how many rows failed and the reason of the first, for messages."""
    if not failures:
        return "no failures"
    more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"{failures[0].key} ({failures[0].reason}){more}"


def load_pixels(
    source: str, split: str | None, processor: ImageTokenizerImageProcessorPil, progress: Progress | None = None
) -> tuple[PixelDataset, list[Failure]]:
    """Opens a source for training: the pictures that can be read, and the list of those that cannot.

    Raises:
        InputError: the source is missing, or not one picture can be read.
    """
    opened = load_image_source(source, split)
    failures = find_unreadable(opened, progress)
    return PixelDataset(opened.without(failures), processor), failures


class PixelDataset(TorchDataset):
    """The pictures of a source as tensors in [-1, 1].

    Decoded pictures are kept in memory as 8-bit values while they fit in 512 MiB. Nothing is lost: pixel values are a
    function of the 256 values of each channel.

    Args:
        source: readable rows only, see `find_unreadable` and `ImageSource.without`.
        processor: makes the tensors.
    """

    def __init__(self, source: ImageSource, processor: ImageTokenizerImageProcessorPil):
        self.source = source
        self.processor = processor
        self._table = _float_table(processor)
        self._cache: dict[int, torch.Tensor] = {}
        self._boxes: dict[int, Box] = {}
        self._free_bytes = _CACHE_BYTES

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._to_float(self._read_8_bits(index))

    def pixels(self, indices: Iterable[int]) -> torch.Tensor:
        """The pictures of these rows as one float tensor (B, C, H, W)."""
        pictures = [self._read_8_bits(int(index)) for index in indices]
        sizes = sorted({tuple(picture.shape[1:]) for picture in pictures})
        if len(sizes) != 1:
            raise InputError(f"one batch needs pictures of one size, got (height, width) {sizes}; use do_resize=True")
        return self._to_float(torch.stack(pictures))

    def content_box(self, index: int) -> Box:
        """Where the row's picture lies in its tensor: everywhere, unless the processor pads.

        A picture that has not been read yet is read for its size.
        """
        if index not in self._boxes:
            self._read_8_bits(index)
        return self._boxes[index]

    def _read_8_bits(self, index: int) -> torch.Tensor:
        """uint8 (C, H, W)."""
        if index in self._cache:
            return self._cache[index]
        image = self.source.read(index, self.processor.background_colour)
        self._boxes[index] = self.processor.content_box(image.height, image.width)
        picture = self.processor(image, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"][0]
        if picture.numel() <= self._free_bytes:
            self._free_bytes -= picture.numel()
            self._cache[index] = picture
        return picture

    def _to_float(self, picture: torch.Tensor) -> torch.Tensor:
        channels = [self._table[channel][level.long()] for channel, level in enumerate(picture.unbind(-3))]
        return torch.stack(channels, -3)


def _float_table(processor: ImageTokenizerImageProcessorPil) -> torch.Tensor:
    """(C, 256): what the processor makes of each 8-bit value, so that cached pictures give its very floats."""
    ramp = PILImage.frombytes("L", (256, 1), bytes(range(256)))
    return processor(ramp, do_resize=False, do_pad=False, return_tensors="pt")["pixel_values"][0, :, 0].float()


def _open_picture(file: io.BytesIO | str) -> PILImage.Image:
    with warnings.catch_warnings():  # PIL only warns between its limit and twice that; `_check_pixel_count` refuses
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


def _find_image_column(dataset: Dataset, source: str) -> str:
    """The first column of type Image, else the first that holds a picture's bytes without saying so."""
    for name, feature in dataset.features.items():
        if isinstance(feature, Image):
            return name
    for name, feature in dataset.features.items():
        if feature in (Value("binary"), Value("large_binary")) or (isinstance(feature, dict) and "bytes" in feature):
            return name
    raise InputError(f"{source} has no column with pictures; its columns: {', '.join(dataset.column_names)}")


def _find_caption_column(dataset: Dataset, source: str, wanted: str | None) -> str | None:
    features = dataset.features
    if wanted is not None:
        if wanted not in features:
            raise InputError(f"{source} has no column {wanted!r}; its columns: {', '.join(features)}")
        if not (_holds_text(features[wanted]) or isinstance(features[wanted], ClassLabel)):
            raise InputError(
                f"captions must be text, lists of text or class labels; {wanted!r} holds {features[wanted]}"
            )
        return wanted
    named = [name for name in CAPTION_COLUMNS if name in features and _holds_text(features[name])]
    labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    return next(iter(named + labels), None)


def _holds_text(feature: FeatureType) -> bool:
    if isinstance(feature, (List, LargeList)):
        return _holds_text(feature.feature)
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string", "null")


def _keys(dataset: Dataset, image_column: str, folder: Path | None) -> tuple[str, ...]:
    if folder is None:
        return tuple(f"row-{index:06d}" for index in range(len(dataset)))
    paths = [row.get("path") or "" for row in dataset[image_column]]
    names = [Path(os.path.relpath(path, folder)).as_posix() for path in paths]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):  # a file listed twice, with two captions: "a.png", "a.png#2"
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name}#{seen[name]}"
    return tuple(names)
