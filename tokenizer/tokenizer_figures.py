"""The measured figures of an image tokenizer for its card: a table, and what the Hub lists beside the model."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..hub.card import markdown_table, public_name
from ..hub.card_figures import CardFigures, Figure
from ..hub.evaluations import read_evaluations
from ..hub.files import read_json_object
from .loading import LoadedImageTokenizer

_COLUMNS = {
    "PSNR dB": ("psnr", "{:.2f}"),
    "SSIM": ("ssim", "{:.3f}"),
    "codes in use": ("usage", "{:.1%}"),
    "perplexity": ("perplexity", "{:.1f}"),
    "bits, one histogram": ("static_bits", "{:.1f}"),
    "bits, held out": ("reference_bits", "{:.1f}"),
}
"""Figures that have one value a level: of the level's codes, or of all levels up to it."""

_TASK = "image-feature-extraction"


def tokenizer_figures(folder: Path, loaded: LoadedImageTokenizer, grids: Sequence[Sequence[int]]) -> CardFigures:
    """Figures of what `pictogram evaluate tokenizer --card` kept, or else of the training's `complete.json`.

    Args:
        folder: of the tokenizer.
        loaded: the tokenizer.
        grids: of its pictures' codes.

    Raises:
        InputError: another tokenizer was measured, or a file cannot be read.
    """
    measured = read_evaluations(folder, loaded.fingerprint).get("tokenizer")
    trained = _trained(folder)
    if measured is None:
        where = f"On {trained.get('num_images')} training pictures."
        return CardFigures(_table(where, trained, grids))
    protocol = measured.get("protocol") or {}
    data, split = public_name(str(protocol.get("data"))), str(protocol.get("split"))
    where = f"On {measured.get('num_images')} pictures of `{data}`, split `{split}`, {protocol.get('preprocessing')}."
    index = [Figure(_TASK, data, split, metric, name, value) for metric, name, value in _index(measured, grids)]
    return CardFigures(_table(where, measured, grids), index, _limits(measured, trained, split))


def _trained(folder: Path) -> dict[str, Any]:
    path = folder / "complete.json"
    return read_json_object(path).get("train") or {} if path.is_file() else {}


def _table(where: str, measured: dict[str, Any], grids: Sequence[Sequence[int]]) -> list[str]:
    columns = {
        title: ["-" if value is None else pattern.format(value) for value in measured[name]]
        for title, (name, pattern) in _COLUMNS.items()
        if _is_per_level(measured.get(name), grids)
    }
    if not columns:
        return []
    counts = [str(math.prod(grid)) for grid in grids]
    table = {"level": [str(level) for level in range(len(grids))], "codes": counts, **columns}
    return [where, markdown_table(list(table), list(zip(*table.values(), strict=True)))]


def _is_per_level(values: Any, grids: Sequence[Sequence[int]]) -> bool:
    return isinstance(values, list) and len(values) == len(grids)


def _index(measured: dict[str, Any], grids: Sequence[Sequence[int]]) -> list[tuple[str, str, float]]:
    """(metric, name, value) of every prefix of levels, and of all codes together."""
    prefixes = list(itertools.accumulate(math.prod(grid) for grid in grids))
    found: list[tuple[str, str, float]] = []
    for metric, title in (("psnr", "PSNR, dB"), ("ssim", "SSIM")):
        if _is_per_level(measured.get(metric), grids):
            pairs = zip(prefixes, measured[metric], strict=True)
            found += [(metric, f"{title}, {count} codes", value) for count, value in pairs if value is not None]
    if _is_per_level(measured.get("usage"), grids):
        found += [("usage", f"share of level {n}'s codes in use", value) for n, value in enumerate(measured["usage"])]
    for metric, title in (("reference_bits", "held-out tables"), ("static_bits", "its own tables")):
        if _is_per_level(measured.get(metric), grids) and None not in measured[metric]:
            found.append(("bits_per_image", f"bits a picture under static tables, {title}", sum(measured[metric])))
            break
    return found


def _limits(measured: dict[str, Any], trained: dict[str, Any], split: str) -> list[str]:
    """How much worse pictures are that were not learned; nothing if that was not measured."""
    there, learned = (figures.get("psnr") or [None] for figures in (measured, trained))
    if split == "train" or there[-1] is None or learned[-1] is None:
        return []
    return [
        f"Pictures that it learned come back at {learned[-1]:.2f} dB, those of split `{split}` at {there[-1]:.2f} dB."
    ]
