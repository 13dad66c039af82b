"""A folder that holds just what a push sends, without copies where links will do."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def staging_folder() -> Iterator[Path]:
    """Yields an empty folder that is gone after the block, whatever was linked or written into it."""
    with tempfile.TemporaryDirectory(prefix="pictogram-push-") as folder:
        yield Path(folder)


def stage(file: Path, target: Path) -> None:
    """Puts a file into a staging folder, as a link if the system has links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(file.resolve())
    except OSError:
        shutil.copyfile(file, target)
