"""Where rows come from: finds out what a source's name means and opens it with `datasets`."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
from datasets import Dataset, DatasetDict, Image, IterableDataset, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetsError
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from ..hub.errors import InputError, first_line
from .embedded import load_embedded
from .metadata_captions import METADATA_NAMES, with_captions_as_written

EMBEDDED = "embedded"
SPLIT_NAMES = ("train", "validation", "valid", "val", "dev", "test")
"""Top folders and parquet files with these names hold splits."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_FILE_OF_SPLIT = re.compile(rf"({'|'.join(SPLIT_NAMES)})([-_.].*)?")
_IMAGE_COLUMN = "image"  # imagefolder's name for it
_CHAIN = "::"
"""Between a file and the archive it lies in, where `datasets` (fsspec) reads paths."""
PICTURE_SUFFIXES = frozenset(ImageFolder.EXTENSIONS)
_METADATA_NAMES = frozenset(ImageFolder.METADATA_FILENAMES)


@dataclass(frozen=True)
class Rows:
    """The rows of one split.

    Attributes:
        dataset: pictures not decoded.
        folder: where the files lie, if the rows are files.
        has_caption_files: whether a text file of its name lies beside a picture.
    """

    dataset: Dataset
    folder: Path | None = None
    has_caption_files: bool = False


def open_rows(source: str, split: str | None) -> Rows:
    """Opens the rows of a source, pictures not decoded; see `images.load_image_source` for what a source can be.

    Raises:
        InputError: the source or its split is missing, or holds no pictures.
    """
    if source == EMBEDDED:
        return Rows(_choose_split(load_embedded(), split, source))
    path = Path(source).expanduser()
    if path.is_dir():
        rows = _open_folder(path, split)
    elif path.is_file():
        rows = Rows(_open_parquet([path], source))
    elif _HUB_NAME.fullmatch(source) and not source.endswith(".parquet"):
        rows = Rows(_open_named(source, split))
    else:
        raise InputError(f"{source} does not exist")
    if not len(rows.dataset):
        raise InputError(f"{source} has no rows")
    return rows


def _open_folder(folder: Path, split: str | None) -> Rows:
    files = list(visible_files(folder))
    pictures, tables = pictures_among(files), tables_among(files)
    if pictures and tables:
        raise InputError(
            f"{folder} holds {len(pictures)} pictures and {len(tables)} parquet files; name a folder of either"
        )
    if pictures:
        texts = {file.with_suffix("") for file in files if file.suffix == ".txt"}
        beside = any(picture.with_suffix("") in texts for picture in pictures)
        return Rows(_open_pictures(folder, files, split), folder.resolve(), beside)
    if tables:
        return Rows(_open_parquet(files_of_split(folder, tables, split), str(folder)))
    what = f"{len(files)} files but no pictures" if files else "no files"
    raise InputError(f"{folder} holds {what}; expected pictures (png, jpg, webp, ...) or parquet files")


def pictures_among(files: list[Path]) -> list[Path]:
    """The files that are pictures by their names."""
    return [file for file in files if file.suffix.lower() in PICTURE_SUFFIXES]


def tables_among(files: list[Path]) -> list[Path]:
    """The parquet files that hold rows of their own; others describe pictures."""
    return [file for file in files if file.suffix == ".parquet" and file.name not in _METADATA_NAMES]


def files_of_split(folder: Path, files: list[Path], split: str | None) -> list[Path]:
    """The files of a split, by their names ("test-00000-of-00002") or their top folders; "train" is the rest.

    Args:
        folder: above the files.
        files: all of them.
        split: None stands for all.

    Raises:
        InputError: there is no such split.
    """
    splits = _group(files, lambda file: _split_of(folder, file))
    stems = Counter(file.stem for file in files)
    for file in files:  # one of several test sets, "test_unseen.parquet", by its own name as well
        if "-of-" not in file.stem and stems[file.stem] == 1:
            splits.setdefault(file.stem, [file])
    return _choose_files(splits, split, folder)


def _open_pictures(folder: Path, files: list[Path], split: str | None) -> Dataset:
    pictures = pictures_among(files)
    _check_names(folder, pictures)
    tops = {picture.relative_to(folder).parts[0] for picture in pictures}
    # With metadata at the top, or pictures outside folders named after splits, the whole folder is one split: "train"
    # among "car" and "plane" is a class. `imagefolder` itself would also split by words in file names.
    has_splits = tops <= set(SPLIT_NAMES) and not any((folder / name).exists() for name in _METADATA_NAMES)
    parts = {top: [folder / top] for top in sorted(tops)} if has_splits else {"train": [folder]}
    chosen = _choose_files(parts, split, folder)
    patterns = [f"{glob.escape(str(part.resolve()))}/**" for part in chosen]
    rows = _load("imagefolder", str(folder), data_files={"train": patterns})
    if _IMAGE_COLUMN not in rows.column_names:
        return rows
    rows = rows.cast_column(_IMAGE_COLUMN, Image(decode=False))
    metadata = [file for file in files if file.name in METADATA_NAMES and any(part in file.parents for part in chosen)]
    rows = with_captions_as_written(_without_archives(rows), metadata, _IMAGE_COLUMN)
    return _with_unnamed(rows, [picture for picture in pictures if any(part in picture.parents for part in chosen)])


def _check_names(folder: Path, pictures: list[Path]) -> None:
    """Raises InputError for names that `datasets` cannot open: it says so of the whole folder, and not why."""
    for path in (folder.resolve(), *pictures):
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise InputError(f"{path} has a name that is not UTF-8, which datasets cannot open; rename it") from None
        if _CHAIN in str(path):
            raise InputError(f'{path} has "{_CHAIN}" in its name, which datasets takes for an archive; rename it')


def _without_archives(rows: Dataset) -> Dataset:
    """Rows but those of pictures inside archives that happen to lie beside the others."""
    inside = [_CHAIN in ((image or {}).get("path") or "") for image in rows[_IMAGE_COLUMN]]
    return rows.select([row for row, is_inside in enumerate(inside) if not is_inside]) if any(inside) else rows


def _with_unnamed(rows: Dataset, pictures: list[Path]) -> Dataset:
    """Adds the pictures that a metadata file does not name, without captions: `imagefolder` drops them silently."""
    named = {os.path.realpath(image["path"]) for image in rows[_IMAGE_COLUMN] if image and image["path"]}
    unnamed = [str(picture.absolute()) for picture in pictures if os.path.realpath(picture) not in named]
    if not unnamed:
        return rows
    columns: dict[str, list[Any]] = {name: [None] * len(unnamed) for name in rows.column_names}
    columns[_IMAGE_COLUMN] = [{"bytes": None, "path": path} for path in unnamed]
    return concatenate_datasets([rows, Dataset.from_dict(columns, features=rows.features)])


def _open_parquet(files: list[Path], source: str) -> Dataset:
    if any(file.suffix != ".parquet" for file in files):
        raise InputError(f"{source} is a file but not parquet; expected a folder, a parquet file or a dataset's name")
    return _load("parquet", source, data_files={"train": [glob.escape(str(file.resolve())) for file in files]})


def _load(builder: str, source: str, data_files: dict[str, list[str]]) -> Dataset:
    try:
        return load_dataset(builder, data_files=data_files, split="train")
    except (ValueError, OSError, DatasetsError, pyarrow.ArrowException) as error:
        raise InputError(f"{source} cannot be read: {first_line(error.__cause__ or error)}") from error


def _open_named(name: str, split: str | None) -> Dataset:
    try:
        return _choose_split(load_dataset(name), split, name)
    except InputError:
        raise
    except (ValueError, OSError, RuntimeError, DatasetsError) as error:  # RuntimeError: scripts are refused
        raise InputError(f"{name} is no file, no folder and no dataset that loads: {first_line(error)}") from error


def stream_rows(source: str, split: str) -> IterableDataset:
    """Opens parquet files or a named dataset to be read while it is downloaded.

    Raises:
        InputError: it is missing, or on this machine already: the embedded pictures, or a folder of pictures.
    """
    if source == EMBEDDED:
        raise InputError("the embedded pictures come with the package, leave out streaming")
    path = Path(source).expanduser()
    try:
        if path.is_dir() or path.suffix == ".parquet":
            tables = [path] if path.is_file() else [file for file in visible_files(path) if file.suffix == ".parquet"]
            if not tables:
                raise InputError(f"{source} cannot be streamed: expected parquet files or a dataset's name")
            chosen = tables if path.is_file() else files_of_split(path, tables, split)
            names = [glob.escape(str(file.resolve())) for file in chosen]
            return load_dataset("parquet", data_files={"train": names}, split="train", streaming=True)
        if not _HUB_NAME.fullmatch(source):
            raise InputError(f"{source} does not exist")
        return load_dataset(source, split=split, streaming=True)
    except InputError:
        raise
    except (ValueError, OSError, RuntimeError, DatasetsError) as error:
        raise InputError(f"{source} cannot be streamed: {first_line(error)}") from error


def _choose_split(splits: DatasetDict, split: str | None, source: str) -> Dataset:
    if split is None:
        return concatenate_datasets(list(splits.values()))
    if split not in splits:
        raise InputError(f"{source} has no split {split!r}; it has: {', '.join(map(str, splits))}")
    return splits[split]


def _choose_files(splits: dict[str, list[Path]], split: str | None, folder: Path) -> list[Path]:
    if split is None:
        return list(dict.fromkeys(file for name in sorted(splits) for file in splits[name]))
    if split not in splits:
        raise InputError(f"{folder} has no split {split!r}; it has: {', '.join(sorted(splits))}")
    return splits[split]


def _split_of(folder: Path, file: Path) -> str:
    """The split a file belongs to, by its name ("test-00000-of-00002.parquet") or its top folder."""
    for part in (file.stem, file.relative_to(folder).parts[0]):
        if match := _FILE_OF_SPLIT.fullmatch(part):
            return match[1]
    return "train"


def _group(files: list[Path], name_of: Callable[[Path], str]) -> dict[str, list[Path]]:
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(name_of(file), []).append(file)
    return groups


def visible_files(folder: Path) -> Iterator[Path]:
    """All files below a folder in order of name, but those `datasets` skips: hidden ones and "__" folders.

    Links to folders are followed, but none back into a folder above, which would never end.
    """
    above: dict[str, frozenset[str]] = {}  # by the path of a folder, the real paths of those it is reached through
    for parent, folders, files in os.walk(folder, followlinks=True):
        through = above.pop(parent, frozenset()) | {os.path.realpath(parent)}
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith((".", "__")) and os.path.realpath(os.path.join(parent, name)) not in through
        )
        above |= {os.path.join(parent, name): through for name in folders}
        yield from (Path(parent, name) for name in sorted(files) if not name.startswith((".", "__")))
