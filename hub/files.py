"""Writing that is all or nothing: a temporary name beside the target, then a rename.

A process may be killed at any instant; whatever carries its final name is complete.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import InputError


def atomic_write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Writes `content` to `path`, creating its folder; readers see the old file or the new one, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_sibling(path)
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_text(path: str | os.PathLike[str], content: str) -> None:
    """Writes `content` as UTF-8, see `atomic_write_bytes`."""
    atomic_write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes `content` as indented JSON, see `atomic_write_bytes`."""
    atomic_write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads a JSON file.

    Raises:
        InputError: the file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}") from None


def read_json_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a JSON file that holds an object.

    Raises:
        InputError: as `read_json`, or the file holds something else.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


@contextlib.contextmanager
def atomic_files(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty temporary folder whose files move into `directory` when the block ends without an error.

    For libraries that write many files in place. Each appears whole, by a rename; what else is in `directory` stays.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_sibling(directory / "files")
    temporary.mkdir()
    try:
        yield temporary
        for file in sorted(path for path in temporary.rglob("*") if path.is_file()):
            target = directory / file.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary_sibling(path: Path) -> Path:
    # Processes of several machines may share the folder, and their numbers.
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
