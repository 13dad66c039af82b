"""What was measured of a model, in its own folder, where its card finds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import InputError
from .files import read_json_object, write_json

FOLDER = "evaluation"
"""Beside the model's files; holds one JSON file for each kind of measurement."""

KINDS = ("tokenizer", "prior", "names", "classes", "captions", "samples", "figures")
"""By the command `pictogram evaluate`; "figures" are ready to print, by their names."""


def write_evaluation(folder: Path, kind: str, fingerprint: str, result: dict[str, Any]) -> Path:
    """Keeps a measurement beside the model, in place of an earlier one of its kind.

    Args:
        folder: of the model.
        kind: one of `KINDS`.
        fingerprint: of the model that was measured.
        result: JSON-serialisable.

    Returns:
        The file that was written.

    Raises:
        InputError: there is no such folder.
    """
    assert kind in KINDS
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder that could keep what was measured")
    path = folder / FOLDER / f"{kind}.json"
    write_json(path, {"fingerprint": fingerprint, "result": result})
    return path


def read_evaluations(folder: Path, fingerprint: str) -> dict[str, dict[str, Any]]:
    """What was measured of a model, by kind.

    Args:
        folder: of the model.
        fingerprint: of the model as it is now.

    Raises:
        InputError: a file cannot be read, or another model was measured.
    """
    found = {}
    for kind in KINDS:
        path = folder / FOLDER / f"{kind}.json"
        if not path.is_file():
            continue
        content = read_json_object(path)
        if not isinstance(content.get("result"), dict) or not isinstance(content.get("fingerprint"), str):
            raise InputError(f'{path} must hold "fingerprint" and "result", as `pictogram evaluate --card` writes them')
        if content["fingerprint"] != fingerprint:
            raise InputError(f"{path} was measured on another model than the one that lies there; measure again")
        found[kind] = content["result"]
    return found
