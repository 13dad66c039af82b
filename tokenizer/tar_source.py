"""Pictures in tar archives as webdataset writes them: the files of a picture share a name up to its first dot.

"000017.jpg" is a picture, "000017.txt" its captions, one a line, "000017.json" a JSON object whose "caption", "text" or
"name" is the caption where there is no text file, and "000017.cls" the number of its class. Archives are read from
beginning to end and never unpacked; each becomes one file of codes.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Features, Image, Value
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from ..hub.errors import InputError, first_line
from .columns import CAPTION_COLUMNS, caption_lines
from .input_shards import InputRow, InputShard, LostRow

_PICTURES = frozenset(ImageFolder.EXTENSIONS)
_TEXTS = (".txt", ".text", ".caption")
_CLASS = ".cls"
_JSON = ".json"


@dataclass(frozen=True)
class TarSource:
    """Pictures in archives.

    Attributes:
        name: what the user called it.
        archives: in order.
        folder: above them; the archives' paths below it are parts of the keys.
        image_column: "image".
        caption_column: None: captions come from files of their own.
        has_several_captions: always.
    """

    name: str
    archives: tuple[Path, ...]
    folder: Path
    image_column: str = "image"
    caption_column: str | None = None
    has_several_captions: bool = True

    @property
    def features(self) -> Features:
        """The picture, and what stands beside it: the class' number and the JSON file as it is."""
        return Features({"image": Image(), "cls": Value("int64"), "json": Value("string")})

    def input_shards(self, rows_per_shard: int) -> list[InputShard]:
        """One an archive."""
        return [InputShard(self._label(path), None, partial(self._rows, path)) for path in self.archives]

    def identity(self) -> dict[str, Any]:
        """Names and sizes of the archives."""
        return {"archives": [[self._label(path), path.stat().st_size] for path in self.archives]}

    def _label(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _rows(self, path: Path) -> Iterator[InputRow | LostRow]:
        label = self._label(path)
        seen: set[str] = set()
        samples = 0
        try:
            for name, files in _samples(path):
                samples += 1
                key = f"{label}/{name}"
                if key in seen:  # two runs of files of one name
                    key = f"{key}#{samples}"
                seen.add(key)
                yield _row(key, files)
        except (tarfile.TarError, EOFError, OSError) as error:  # OSError: a damaged gzip stream, or one cut short
            yield LostRow(label, f"the archive is damaged after {samples} samples: {first_line(error)}")


def _samples(path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Name and files, by their extensions in lower case, of each sample in an archive."""
    current: str | None = None
    files: dict[str, bytes] = {}
    with tarfile.open(path, "r|*") as archive:
        for member in archive:
            if not member.isfile():
                continue
            folder, _, base = member.name.rpartition("/")
            if base.startswith("."):
                continue
            stem, dot, extension = base.partition(".")
            name = f"{folder}/{stem}" if folder else stem
            if name != current and files:
                yield str(current), files
                files = {}
            current = name
            opened = archive.extractfile(member)
            assert opened is not None  # it is a file
            files[(dot + extension).lower()] = opened.read()
    if files:
        yield str(current), files


def _row(key: str, files: dict[str, bytes]) -> InputRow | LostRow:
    pictures = [extension for extension in files if extension in _PICTURES]
    if len(pictures) != 1:
        found = ", ".join(sorted(files))
        return LostRow(key, f"expected one picture in the sample, got {len(pictures)} among {found}")
    try:
        description = files[_JSON].decode("utf-8-sig") if _JSON in files else None
        values = {"cls": _class(files.get(_CLASS)), "json": description}
        captions = _captions(files, description)
    except InputError as error:
        return LostRow(key, str(error))
    except UnicodeDecodeError:
        return LostRow(key, "its text is not UTF-8")
    return InputRow(key, {"bytes": files[pictures[0]], "path": None}, captions, values)


def _captions(files: dict[str, bytes], description: str | None) -> list[str]:
    for extension in _TEXTS:
        if extension in files:
            return caption_lines(files[extension])
    content = _json_object(description)
    named = next((content[name] for name in CAPTION_COLUMNS if content.get(name)), "")
    return [str(text) for text in named] if isinstance(named, list) else [str(named)]


def _json_object(text: str | None) -> dict[str, Any]:
    try:
        content = json.loads(text or "{}")
    except ValueError:
        raise InputError("its .json file is not valid JSON") from None
    return content if isinstance(content, dict) else {}


def _class(content: bytes | None) -> int | None:
    try:
        return None if content is None else int(content)
    except ValueError:
        raise InputError(f"its {_CLASS} file must be a whole number, got {content!r}") from None
