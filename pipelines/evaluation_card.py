"""`--card` of the evaluations: what was measured stays in the model's folder, where its card finds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..hub.errors import InputError
from ..hub.evaluations import write_evaluation
from ..hub.repository import is_hub_name
from ..hub.shipped import local_folder, shipped_folder
from ..lm.bundle import Bundle
from ..tokenizer.loading import load_image_tokenizer


def card_folder(model: str) -> Path:
    """The folder of a model that may keep a measurement: asked before the work.

    Raises:
        InputError: the model is on the Hub or comes with the package, or there is no such folder.
    """
    folder = local_folder(model)
    if is_hub_name(model) or shipped_folder(model) is not None or not folder.is_dir():
        raise InputError(f"--card writes into the model's own folder, and {model} is none")
    return folder


def measure_for_card(model: str, kind: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Measures, and writes the result into the model's folder as well.

    The fingerprint is taken first: figures of a model that is replaced while it is measured are nobody's.

    Args:
        model: the folder.
        kind: see `hub.evaluations.KINDS`.
        measure: evaluates the model.

    Returns:
        What `measure` does.

    Raises:
        InputError: see `card_folder`, or the model cannot be loaded.
    """
    folder = card_folder(model)
    is_tokenizer = kind == "tokenizer"
    fingerprint = (load_image_tokenizer(folder) if is_tokenizer else Bundle.from_pretrained(folder)).fingerprint
    result = measure()
    write_evaluation(folder, kind, fingerprint, result)
    return result
