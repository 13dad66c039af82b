"""Captions of metadata files as they were written: libraries that guess types lose "NA", "null" and "007"."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, List, Value

from .columns import CAPTION_COLUMNS, holds_text

METADATA_NAMES = ("metadata.csv", "metadata.jsonl")
_FILE_COLUMN = "file_name"

_Written = dict[str, deque[str | list[str]]]
"""By the real path of a picture its texts, one for each time that it is listed, in order."""


class _NoTextError(Exception):
    """A row has something else than text, or a file cannot be read so."""


def with_captions_as_written(rows: Dataset, metadata: Iterable[Path], image_column: str) -> Dataset:
    """Rows of a folder of pictures whose captions are those of its metadata.csv and metadata.jsonl, letter by letter.

    Args:
        rows: with paths of pictures, in the order of the files.
        metadata: the files that describe them.
        image_column: the pictures' column.

    Returns:
        The rows. Where the metadata files have text in the column "caption", or in "text" and "name" where the library
        found text too, it is that text; what was taken for missing, a number or a date is read anew. A row without a
        value has the empty caption. A column that holds anything else stays as it is.
    """
    files = list(metadata)
    paths = [os.path.realpath(image["path"]) if image and image["path"] else "" for image in rows[image_column]]
    for column in CAPTION_COLUMNS:
        is_meant = column in rows.column_names and (column == "caption" or holds_text(rows.features[column]))
        if files and is_meant:
            rows = _with_column(rows, column, _texts_of(paths, files, column))
    return rows


def _with_column(rows: Dataset, column: str, texts: list[str | list[str]] | None) -> Dataset:
    if texts is None:
        return rows
    order, several = rows.column_names, any(isinstance(value, list) for value in texts)
    values = [[value] * (value != "") if several and isinstance(value, str) else value for value in texts]
    feature = List(Value("string")) if several else Value("string")
    return rows.remove_columns(column).add_column(column, values, feature=feature).select_columns(order)


def _texts_of(paths: list[str], files: list[Path], column: str) -> list[str | list[str]] | None:
    """The text of every row; None if some cannot be told."""
    try:
        written = _written(files, column)
    except (OSError, ValueError, csv.Error, _NoTextError):
        return None
    texts = [written[path].popleft() if written.get(path) else None for path in paths]
    return None if None in texts else [text for text in texts if text is not None]


def _written(files: Iterable[Path], column: str) -> _Written:
    found: _Written = defaultdict(deque)
    for file in files:
        for row in _rows(file):
            if isinstance(row.get(_FILE_COLUMN), str):  # others stand for no picture
                found[os.path.realpath(file.parent / row[_FILE_COLUMN])].append(_text_or_texts(row.get(column)))
    return found


def _text_or_texts(value: Any) -> str | list[str]:
    if value is None:
        return ""
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(text, str) for text in value)):
        return value
    raise _NoTextError


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        if file.suffix == ".csv":
            yield from csv.DictReader(opened)
        else:
            for line in filter(str.strip, opened):
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise ValueError(f"{file} must hold JSON objects, got {row!r}")
                yield row
