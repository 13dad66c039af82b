"""Pictures in tar archives as webdataset writes them: the files of a picture share a name up to its first dot.

"000017.jpg" is a picture, "000017.txt" its captions, one a line, "000017.json" a JSON object whose "caption", "text" or
"name" is the caption where there is no text file, and "000017.cls" the number of its class. Archives are read from
beginning to end and never unpacked; each becomes one file of codes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tarfile import EOFHeaderError, HeaderError, ReadError  # pyright: ignore[reportAttributeAccessIssue]
from typing import Any, Self

from datasets import Features, Image, Value
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from ..hub.errors import InputError, first_line
from .columns import CAPTION_COLUMNS, caption_lines
from .input_shards import InputRow, InputShard, LostRow

_PICTURES = frozenset(ImageFolder.EXTENSIONS)
_TEXTS = (".txt", ".text", ".caption")
_CLASS = ".cls"
_JSON = ".json"
_BLOCK, _BLOCKS_HASHED = 1 << 16, 64
"""Bytes at a time, and how many of them, tell an archive from another one of its name and size."""


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
        """Names and sizes of the archives, and a hash of up to 4 MiB of them, spread evenly."""
        digest = hashlib.sha256()
        chosen = self.archives[:: math.ceil(len(self.archives) / _BLOCKS_HASHED) or 1]
        for path in chosen:
            for block in _spread_blocks(path, _BLOCKS_HASHED // len(chosen)):
                digest.update(block)
        return {
            "archives": [[self._label(path), path.stat().st_size] for path in self.archives],
            "archives_sha256": digest.hexdigest(),
        }

    def captions_identity(self) -> dict[str, Any]:
        """Nothing: captions stand in the archives."""
        return {}

    def _label(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()

    def _rows(self, path: Path) -> Iterator[InputRow | LostRow]:
        label = self._label(path)
        seen: set[str] = set()
        samples = 0
        try:
            for name, members in _samples(path):
                samples += 1
                key = f"{label}/{name}"
                if key in seen:  # two runs of files of one name
                    key = f"{key}#{samples}"
                seen.add(key)
                yield _row(key, members)
        except (tarfile.TarError, EOFError, OSError) as error:  # OSError: a damaged gzip stream, or one cut short
            yield LostRow(label, f"the archive is damaged after {samples} samples: {first_line(error)}")


def _spread_blocks(path: Path, count: int) -> Iterator[bytes]:
    """Up to `count` blocks of a file: all of it where it is small."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for start in range(0, size, max(_BLOCK, math.ceil(size / count))):
            file.seek(start)
            yield file.read(_BLOCK)


class _WholeInfo(tarfile.TarInfo):
    """A member's header. `tarfile` takes a damaged or missing one, but for the first, for the end of the archive."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        """Reads the next header.

        Raises:
            EOFHeaderError: at the end of the archive.
            ReadError: the header is damaged, cut short or missing.
        """
        try:
            return super().fromtarfile(tarfile)
        except EOFHeaderError:
            raise
        except HeaderError as error:
            raise ReadError(str(error)) from error


def _samples(path: Path) -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """Name and files, each with its extension in lower case, of each sample in an archive."""
    current: str | None = None
    files: list[tuple[str, bytes]] = []
    with tarfile.open(path, "r|*", tarinfo=_WholeInfo) as archive:
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
                files = []
            current = name
            opened = archive.extractfile(member)
            assert opened is not None  # it is a file
            files.append(((dot + extension).lower(), opened.read()))
    if files:
        yield str(current), files


def _row(key: str, members: list[tuple[str, bytes]]) -> InputRow | LostRow:
    if not _is_utf8(key, *(extension for extension, _ in members)):
        return LostRow(key.encode("utf-8", "backslashreplace").decode(), "its name is not UTF-8")
    try:
        files = _by_extension(members)
        description = files[_JSON].decode("utf-8-sig") if _JSON in files else None
        values = {"cls": _class(files.get(_CLASS)), "json": description}
        captions = _captions(files, description)
    except InputError as error:
        return LostRow(key, str(error))
    except UnicodeDecodeError:
        return LostRow(key, "its text is not UTF-8")
    except RecursionError:
        return LostRow(key, "its .json file is nested too deeply")
    if not _is_utf8(*captions):  # JSON can spell what no UTF-8 can: "\\ud800"
        return LostRow(key, "its text is not UTF-8")
    picture = next(content for extension, content in members if extension in _PICTURES)
    return InputRow(key, {"bytes": picture, "path": None}, captions, values)


def _is_utf8(*texts: str) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _by_extension(members: list[tuple[str, bytes]]) -> dict[str, bytes]:
    """The files of a sample, checked: one of each kind, and one picture among them."""
    extension, count = Counter(extension for extension, _ in members).most_common(1)[0]
    if count > 1:
        raise InputError(f"expected one file of each kind in the sample, got {count} of {extension}")
    files = dict(members)
    pictures = len(_PICTURES & files.keys())
    if pictures != 1:
        found = ", ".join(sorted(files))
        raise InputError(f"expected one picture in the sample, got {pictures} among {found}")
    return files


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
    if content is None:
        return None
    with contextlib.suppress(ValueError):
        number = int(content)
        if -(2**63) <= number < 2**63:
            return number
    raise InputError(f"its {_CLASS} file must be a whole number of 64 bits, got {content[:40]!r}")
