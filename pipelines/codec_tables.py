"""What a codec's points say: bytes at equal quality, differences between curves, and costs of models and weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .codec_points import CodecPoint
from .curve_points import Point, bjontegaard_rate

_MOST_COLUMNS = 8


def even_decibels(curve: Sequence[Point]) -> list[float]:
    """Whole numbers of dB, at most 8 and equally far apart, that a curve reaches."""
    reached = [point.psnr for point in curve if point.bytes > 0 and math.isfinite(point.psnr)]
    low, high = math.ceil(min(reached, default=0)), math.floor(max(reached, default=-1))
    step = max(1, math.ceil((high - low + 1) / _MOST_COLUMNS))
    return [float(value) for value in range(low, high + 1, step)]


def rate_differences(curves: Mapping[str, Sequence[Point]], ours: str) -> dict[str, float]:
    """`ours` beside every other codec, single files beside single files; see `bjontegaard_rate`.

    Args:
        curves: by codec.
        ours: name of the curve of archives; that of single files has " file" behind it.
    """
    found: dict[str, float] = {}
    for name, curve in curves.items():
        own = f"{ours} file" if name.endswith(" file") else ours
        if name != own and own in curves:
            share = bjontegaard_rate(curves[own], curve)
            if share is not None:
                found[name] = share
    return found


def costs(points: Sequence[CodecPoint], weights: Sequence[float]) -> dict[str, Any]:
    """J = squared error + weight * bits of every model at every weight.

    Args:
        points: archives of all models.
        weights: above 0.

    Returns:
        For each model, by the weight's text: `trained`, J of all levels with the codes that the tokenizer chooses by
        itself; `best`, the least J of all its settings.
    """
    models = dict.fromkeys(point.model for point in points)
    return {model: _costs_of([p for p in points if p.model == model], weights) for model in models} if weights else {}


def _costs_of(points: Sequence[CodecPoint], weights: Sequence[float]) -> dict[str, dict[str, float]]:
    most = max(point.num_levels for point in points)
    whole = next(point for point in points if point.num_levels == most and not point.rate_weight)
    return {
        f"{weight:g}": {"trained": whole.cost(weight), "best": min(point.cost(weight) for point in points)}
        for weight in weights
    }


def equal_quality_table(found: Mapping[str, Mapping[str, float | None]]) -> str:
    """Markdown: a row per codec, a column per dB; "-" where a codec does not reach it."""
    columns = list(next(iter(found.values()), {}))
    rows = [[name, *(_bytes(values[column]) for column in columns)] for name, values in found.items()]
    return markdown(["codec", *(f"{column} dB" for column in columns)], rows)


def cost_table(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Markdown: a row per model, a column per weight; empty without models."""
    weights = list(next(iter(found.values()), {}))
    rows = [
        [name, *(f"{values[weight]['trained']:.0f} / {values[weight]['best']:.0f}" for weight in weights)]
        for name, values in found.items()
    ]
    return markdown(["model", *(f"weight {weight}" for weight in weights)], rows) if rows else ""


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table, its columns as wide as their longest cell."""
    lines = [list(heads), ["---"] * len(heads), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
