"""Captions of metadata files as they were written: libraries that guess types lose "NA", "null" and "007"."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset, List, Value

from .columns import CAPTION_COLUMNS, holds_text

_FILE_COLUMN = "file_name"

Written = dict[str, str | list[str]]
"""A text, or several, by the real path of the picture it stands for."""


def with_captions_as_written(rows: Dataset, files: Iterable[Path], image_column: str) -> Dataset:
    """Rows of a folder of pictures whose captions are those of its metadata.csv and metadata.jsonl, letter by letter.

    Args:
        rows: with paths of pictures.
        files: all files of the folder.
        image_column: the pictures' column.

    Returns:
        The rows. Where every row of the metadata files has text in the column "caption", or in "text" and "name" where
        the library found text too, it is that text; what was taken for missing, a number or a date is read anew.
    """
    metadata = [file for file in files if file.name in ("metadata.csv", "metadata.jsonl")]
    if not metadata:
        return rows
    paths = [os.path.realpath(image["path"]) if image and image["path"] else "" for image in rows[image_column]]
    for column in CAPTION_COLUMNS:
        is_meant = column in rows.column_names and (column == "caption" or holds_text(rows.features[column]))
        written = _written(metadata, column) if is_meant else None
        if written is not None and all(path in written for path in paths):
            several = any(isinstance(value, list) for value in written.values())
            values = [written[path] for path in paths]
            position = rows.column_names
            feature = List(Value("string")) if several else Value("string")
            rows = rows.remove_columns(column).add_column(column, values, feature=feature).select_columns(position)
    return rows


def _written(metadata: Iterable[Path], column: str) -> Written | None:
    """The texts of a column; None if a row has something else there, or a file cannot be read so."""
    found: Written = {}
    for file in metadata:
        try:
            for row in _rows(file):
                if not isinstance(row.get(_FILE_COLUMN), str):
                    return None
                if (value := _text_or_texts(row.get(column))) is None:
                    return None
                found[os.path.realpath(file.parent / row[_FILE_COLUMN])] = value
        except (OSError, ValueError, csv.Error):
            return None
    return None if len({isinstance(value, list) for value in found.values()}) > 1 else found


def _text_or_texts(value: Any) -> str | list[str] | None:
    is_list = isinstance(value, list) and all(isinstance(text, str) for text in value)
    return value if isinstance(value, str) or is_list else None


def _rows(file: Path) -> Iterator[Mapping[str, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as opened:
        if file.suffix == ".csv":
            yield from csv.DictReader(opened)
        else:
            for line in opened:
                if line.strip():
                    row = json.loads(line)
                    if not isinstance(row, dict):
                        raise ValueError(f"{file} must hold JSON objects, got {row!r}")
                    yield row
