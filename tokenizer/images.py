"""Pictures from any source: the embedded set, a folder, parquet files or the name of a dataset.

A source is opened once and read row by row. A row that cannot be read raises `UnreadableImage` with the reason;
`find_unreadable` lists such rows in one pass, so that a few bad files never cost the good ones.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage

from ..hub.errors import InputError
from .columns import (
    captions_beside,
    captions_in,
    captions_of,
    columns_as_they_are,
    find_caption_column,
    find_image_column,
    holds_several,
    holds_text,
    is_text,
)
from .decoding import UnreadableImage, decode_row
from .input_shards import InputRow, InputShard, LostRow
from .rgb import WHITE
from .sources import open_rows

Progress = Callable[[int], None]
"""Called with the number of rows done since the last call."""

_ROWS_AT_ONCE = 64
"""Rows read from the dataset together."""

_ROWS_HASHED = 64
"""Rows by whose pictures a source is known: enough to tell two datasets apart, and read in a moment."""


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
        are_texts: every text of the column is a class, so another split of the data may have others.
    """

    column: str
    names: tuple[str, ...]
    values: torch.Tensor
    are_texts: bool = False

    @classmethod
    def of_texts(cls, column: str, texts: Sequence[str | None]) -> ClassLabels:
        """Each text is a class of its own; None and "" are none."""
        names = tuple(sorted({text for text in texts if text}))
        number = {name: place for place, name in enumerate(names)}
        values = [number[text] if text else -1 for text in texts]
        return cls(column, names, torch.tensor(values, dtype=torch.int64), are_texts=True)

    def renamed(self, names: Sequence[str]) -> ClassLabels:
        """The same classes, numbered as in `names`, which hold all of these."""
        number = {name: place for place, name in enumerate(names)}
        places = torch.tensor([number[name] for name in self.names] + [-1])  # the last one is that of rows without
        return replace(self, names=tuple(names), values=places[self.values])


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
        has_caption_files: captions stand in a text file beside each picture, one a line.
    """

    name: str
    dataset: Dataset
    image_column: str
    caption_column: str | None
    keys: tuple[str, ...]
    has_caption_files: bool = False

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
        """The row's captions, at least one; a row without any has the empty caption.

        Raises:
            InputError: the row's caption file cannot be read, or is not UTF-8.
        """
        if self.has_caption_files:
            return _captions_beside(self._pictures[index][self.image_column])
        row = {} if self.caption_column is None else self._captions[index]
        return captions_in(row, self.caption_column, self.features)

    def class_labels(self, column: str | None = None) -> ClassLabels | None:
        """The class of every row.

        Args:
            column: with class labels, or with texts, each of which is a class; None takes the first with class labels.

        Returns:
            They; None if no column was named and none has class labels.

        Raises:
            InputError: the column is missing, or holds neither.
        """
        if column is None:
            column = next((name for name, feature in self.features.items() if isinstance(feature, ClassLabel)), None)
            if column is None:
                return None
        if column not in self.features:
            raise InputError(f"{self.name} has no column {column!r}; its columns: {', '.join(self.features)}")
        feature, values = self.features[column], self.dataset[column]
        if isinstance(feature, ClassLabel):
            numbers = [-1 if value is None else value for value in values]
            return ClassLabels(column, tuple(feature.names), torch.tensor(numbers, dtype=torch.int64))
        if not is_text(feature):
            raise InputError(f"classes must be class labels or texts; {column!r} holds {feature}")
        return ClassLabels.of_texts(column, values)

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
        return self.dataset.select_columns([] if self.caption_column is None else [self.caption_column])

    @cached_property
    def _carried(self) -> Dataset:
        return self.dataset.select_columns(columns_as_they_are(self.features))

    @property
    def features(self) -> Features:
        """Types of all columns."""
        return self.dataset.features

    @property
    def has_several_captions(self) -> bool:
        """Whether a row may have more than one caption."""
        return self.has_caption_files or holds_several(self.features, self.caption_column)

    def input_shards(self, rows_per_shard: int) -> list[InputShard]:
        """The rows in order, `rows_per_shard` at a time."""
        starts = range(0, len(self), rows_per_shard)
        ranges = [range(start, min(start + rows_per_shard, len(self))) for start in starts]
        return [
            InputShard(f"rows {rows.start} to {rows.stop - 1}", len(rows), partial(self._input_rows, rows))
            for rows in ranges
        ]

    def identity(self) -> dict[str, Any]:
        """Number of rows, a hash of their keys, and one of the files of up to 64 pictures, spread evenly."""
        return {
            "input_rows": len(self),
            "keys_sha256": hashlib.sha256("\n".join(self.keys).encode()).hexdigest(),
            "pictures_sha256": self._pictures_sha256(),
        }

    def captions_identity(self) -> dict[str, Any]:
        """A hash of the captions of all rows, None without any: see `CodesSource`."""
        if self.caption_column is None and not self.has_caption_files:
            return {"captions_sha256": None}
        digest = hashlib.sha256()
        for start in range(0, len(self), _ROWS_AT_ONCE):
            rows = range(start, min(start + _ROWS_AT_ONCE, len(self)))
            digest.update(json.dumps(self._captions_of(rows)).encode())
        return {"captions_sha256": digest.hexdigest()}

    def _captions_of(self, rows: range) -> list[list[str]]:
        if self.has_caption_files:
            pictures = self._pictures[rows.start : rows.stop][self.image_column]
            return [_captions_or_why_not(picture) for picture in pictures]
        column = str(self.caption_column)
        values = self._captions[rows.start : rows.stop][column]
        return [captions_of(value, self.features[column]) for value in values]

    def _pictures_sha256(self) -> str:
        digest = hashlib.sha256()
        for index in range(0, len(self), math.ceil(len(self) / _ROWS_HASHED) or 1):
            digest.update(hashlib.sha256(_content(self._pictures[index][self.image_column])).digest())
        return digest.hexdigest()

    def _input_rows(self, rows: range) -> Iterator[InputRow | LostRow]:
        for start in range(rows.start, rows.stop, _ROWS_AT_ONCE):
            stop = min(start + _ROWS_AT_ONCE, rows.stop)
            columns = self._carried[start:stop]
            for place, index in enumerate(range(start, stop)):
                values = {name: column[place] for name, column in columns.items()}
                yield self._input_row(index, values)

    def _input_row(self, index: int, values: dict[str, Any]) -> InputRow | LostRow:
        picture = values.pop(self.image_column)
        try:
            captions = (
                _captions_beside(picture)
                if self.has_caption_files
                else captions_in(values, self.caption_column, self.features)
            )
        except InputError as error:
            return LostRow(self.key(index), str(error))
        return InputRow(self.key(index), picture, captions, values)


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
    image_column = find_image_column(rows.dataset.features, source)
    dataset = rows.dataset.cast_column(image_column, Image(decode=False))
    keys = _keys(dataset, image_column, rows.folder)
    found = find_caption_column(dataset.features, source, caption_column)
    # Text files were written to be captions; a class label may only be what the folder happens to be called.
    beside = rows.has_caption_files and caption_column is None and not (found and holds_text(dataset.features[found]))
    return ImageSource(source, dataset, image_column, None if beside else found, keys, beside)


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
    if failures and len(failures) == len(source):
        raise InputError(f"none of the {len(source)} pictures of {source.name} can be read: {_summary(failures)}")
    return failures


def _summary(failures: Sequence[Failure]) -> str:
    """One line: how many rows failed, at least one, and the reason of the first, for messages."""
    more = f" and {len(failures) - 1} more" if len(failures) > 1 else ""
    return f"{failures[0].key} ({failures[0].reason}){more}"


def _content(picture: Mapping[str, Any] | None) -> bytes:
    """The file of a picture as it is, not decoded; nothing where there is none that can be read."""
    picture = picture or {}
    if picture.get("bytes") is not None:
        return picture["bytes"]
    try:
        return Path(picture.get("path") or "").read_bytes()
    except OSError:
        return b""


def _captions_beside(picture: Mapping[str, Any] | None) -> list[str]:
    path = (picture or {}).get("path")  # metadata may name no file
    return captions_beside(path) if path else [""]


def _captions_or_why_not(picture: Mapping[str, Any] | None) -> list[str]:
    try:
        return _captions_beside(picture)
    except InputError as error:
        return [str(error)]


def _keys(dataset: Dataset, image_column: str, folder: Path | None) -> tuple[str, ...]:
    if folder is None:
        return tuple(f"row-{index:06d}" for index in range(len(dataset)))
    paths = [(picture or {}).get("path") for picture in dataset[image_column]]
    names = [
        Path(os.path.relpath(path, folder)).as_posix() if path else f"row-{index:06d}"
        for index, path in enumerate(paths)
    ]
    seen: Counter[str] = Counter()
    for index, name in enumerate(names):  # a file listed twice, with two captions: "a.png", "a.png#2"
        seen[name] += 1
        if seen[name] > 1:
            names[index] = f"{name}#{seen[name]}"
    return tuple(names)
