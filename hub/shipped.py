"""Models that come with the package, by short names: nothing has to be trained or downloaded first."""

from __future__ import annotations

import os
from pathlib import Path

SHIPPED_MODELS = ("noto", "fashion")
"""Bundles: emoji by their names, and ten kinds of clothes. Their cards tell how they were made."""

_FOLDER = Path(__file__).parent / "models"


def shipped_folder(name: str | os.PathLike[str]) -> Path | None:
    """Where a model of that name lies in the package; None for any other name. A model's folder called like one wins.

    Example:
        >>> shipped_folder("noto").name, shipped_folder("./noto"), shipped_folder("owner/noto")
        ('noto', None, None)
    """
    if not isinstance(name, str) or name not in SHIPPED_MODELS or os.path.isfile(os.path.join(name, "config.json")):
        return None
    return _FOLDER / name


def local_folder(name: str | os.PathLike[str]) -> Path:
    """The folder that a name means which is none on the Hub: a shipped model's, or a path, "~" being the home."""
    return shipped_folder(name) or Path(name).expanduser()
