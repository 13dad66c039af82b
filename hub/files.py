"""Writing that is all or nothing: a temporary name beside the target, then a rename.

A process may be killed at any instant; whatever carries its final name is complete.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
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
    except OSError as error:  # of the name that was asked for, not of the temporary one
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        temporary.unlink(missing_ok=True)


def check_new_file(path: str | os.PathLike[str]) -> None:
    """Makes sure before the work that a file can be written: its folder is made, and a temporary one tried there.

    Raises:
        InputError: the path is a folder.
        OSError: nothing can be written there.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"expected a file to write, {path} is a folder")
    _try_writing(path, path.parent)


def check_new_folder(path: str | os.PathLike[str]) -> None:
    """Makes a folder, and makes sure before the work that files can be written into it.

    Raises:
        InputError: the path is a file.
        OSError: nothing can be written there.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"expected a folder to write into, {path} is a file")
    _try_writing(path, path)


def _try_writing(path: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_sibling(folder / "new")
    try:
        temporary.touch()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_targets(targets: Iterable[str | os.PathLike[str]], inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Makes sure before the work that no result takes the place of what is read, or of another result.

    Raises:
        InputError: a target is an input, or named twice.
    """
    read = {os.path.realpath(path) for path in inputs}
    written: set[str] = set()
    for target in targets:
        real = os.path.realpath(target)
        if real in read:
            raise InputError(f"{target} would be replaced by what is made of it; give another output")
        if real in written:
            raise InputError(f"{target} would be written twice; give outputs that differ")
        written.add(real)


def atomic_write_text(path: str | os.PathLike[str], content: str) -> None:
    """Writes `content` as UTF-8, see `atomic_write_bytes`."""
    atomic_write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes `content` as indented JSON, see `atomic_write_bytes`."""
    atomic_write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def finite(content: Any) -> Any:
    """The same with None for numbers that JSON does not know: infinity, and what is no number.

    Example:
        >>> finite({"psnr": [float("inf"), 30.5], "n": 1})
        {'psnr': [None, 30.5], 'n': 1}
    """
    if isinstance(content, dict):
        return {name: finite(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


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
