"""Points of rate and distortion, the curve of a codec, and how far other points lie above or below it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from pictogram import InputError


@dataclass(frozen=True)
class Point:
    """One setting of one codec.

    Attributes:
        codec: whose curve the point belongs to.
        setting: what was set, for people.
        bytes: per picture, headers and tables not counted.
        psnr: dB of the mean squared error of 8-bit values.
        own_histogram_bytes: per picture, had the test pictures' own histograms been known; None where there are none.
    """

    codec: str
    setting: str
    bytes: float
    psnr: float
    own_histogram_bytes: float | None = None


@dataclass(frozen=True)
class Gain:
    """A point of a tokenizer beside a baseline at equal bytes.

    Attributes:
        point: the tokenizer's.
        decibels: by the baseline's codec, the point's PSNR less the baseline's; None where the baseline has no such
            rate.
    """

    point: Point
    decibels: dict[str, float | None]


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points on the lower convex hull of bytes and mean squared error, in the order of rising bytes and PSNR.

    A point above the hull is beaten by one of the others, or by two of them that share the pictures between them.
    Without this, points of one codec's several settings would zigzag.
    """
    hull: list[Point] = []
    for point in sorted(points, key=lambda point: (point.bytes, -point.psnr)):
        if hull and point.psnr <= hull[-1].psnr:
            continue
        while len(hull) > 1 and _slope(hull[-2], hull[-1]) >= _slope(hull[-2], point):
            hull.pop()
        hull.append(point)
    return hull


def interpolate(curve: Sequence[Point], num_bytes: float) -> float | None:
    """PSNR in dB of a codec's frontier at `num_bytes`, linear in the bytes' logarithm; None outside its rates.

    Example:
        >>> interpolate([Point("a", "", 10, 20.0), Point("a", "", 40, 26.0)], 20)
        23.0
    """
    points = frontier(curve)
    for point in points:
        if point.bytes == num_bytes:
            return point.psnr
    for low, high in pairwise(points):
        if 0 < low.bytes < num_bytes < high.bytes:
            share = math.log(num_bytes / low.bytes) / math.log(high.bytes / low.bytes)
            return low.psnr + share * (high.psnr - low.psnr)
    return None


def by_codec(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The frontier of every codec, in the order in which the codecs come."""
    codecs = dict.fromkeys(point.codec for point in points)
    return {codec: frontier([point for point in points if point.codec == codec]) for codec in codecs}


def compare(tokenizer_points: Sequence[Point], baselines: Sequence[Point]) -> list[Gain]:
    """How many dB each point of a tokenizer lies above (+) or below (-) every baseline at equal bytes."""
    curves = by_codec(baselines)
    return [Gain(point, {codec: _gain(point, curve) for codec, curve in curves.items()}) for point in tokenizer_points]


def tokenizer_points(results: Mapping[str, Any], name: str) -> list[Point]:
    """The prefixes of levels of a tokenizer, from what `pictogram evaluate tokenizer` prints as JSON.

    Args:
        results: its "psnr" holds dB per prefix, coarse to fine; null (a perfect copy, or not decoded) is left out. Bits
            per picture and level are the lesser of its "reference_bits" and "reference_position_bits", under
            histograms of other pictures as the baselines' are, one per level or one per position: the latter need
            more pictures than there often are. Where these are null, its "position_bits" must do, under the pictures'
            own histograms.
        name: what to call the tokenizer.

    Raises:
        InputError: "psnr" or "position_bits" is missing, or the lengths differ.
    """
    try:
        values, own_bits = results["psnr"], results["position_bits"]
    except KeyError as error:
        raise InputError(f"{name} holds no {error}; expected the JSON of `pictogram evaluate tokenizer`") from error
    bits = _held_out_bits(results) or own_bits
    if not len(values) == len(bits) == len(own_bits):
        raise InputError(f"{name} holds psnr of {len(values)} levels and bits of {len(bits)}; expected equally many")
    rates = zip(accumulate(bits), accumulate(own_bits), values, strict=True)
    return [
        Point(name, f"{levels} levels", total / 8, value, own_total / 8)
        for levels, (total, own_total, value) in enumerate(rates, start=1)
        if value is not None
    ]


def comparison_table(gains: Sequence[Gain]) -> str:
    """Lines of a Markdown table: one row per point, one column per baseline, "-" where it has no such rate."""
    codecs = list(gains[0].decibels)
    lines = [["tokenizer", "bytes", "dB", *codecs], ["---"] * (3 + len(codecs))]
    for gain in gains:
        cells = ["-" if value is None else f"{value:+.2f}" for value in gain.decibels.values()]
        point = gain.point
        lines.append([f"{point.codec}, {point.setting}", f"{point.bytes:.2f}", f"{point.psnr:.2f}", *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def curve_table(points: Sequence[Point], rates: Sequence[float]) -> str:
    """Lines of a Markdown table: the dB of every codec at each of `rates` bytes."""
    lines = [["codec", *(f"{rate:g} B" for rate in rates)], ["---"] * (1 + len(rates))]
    for codec, curve in by_codec(points).items():
        values = [interpolate(curve, rate) for rate in rates]
        lines.append([codec, *("-" if value is None else f"{value:.2f}" for value in values)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plot(points: Sequence[Point], tokenizers: Sequence[Point], path: Path) -> None:
    """Draws every codec's frontier and the tokenizers' points to a picture file.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("--plot needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="bytes per picture, without headers", ylabel="PSNR in dB")
    for style, curves in ((".-", by_codec(points)), ("*-", by_codec(tokenizers))):
        for codec, curve in curves.items():
            axes.plot([point.bytes for point in curve], [point.psnr for point in curve], style, label=codec)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120)


def _slope(first: Point, second: Point) -> float:
    """Change of the mean squared error per byte."""
    errors = [255**2 * 10 ** (-point.psnr / 10) for point in (first, second)]
    return (errors[1] - errors[0]) / (second.bytes - first.bytes)


def _held_out_bits(results: Mapping[str, Any]) -> list[float] | None:
    """Bits per level in the better of two tables of code words learned elsewhere; None without them."""
    tables = [results.get(name) for name in ("reference_bits", "reference_position_bits")]
    found = [table for table in tables if table]
    return [min(bits) for bits in zip(*found, strict=True)] if found else None


def _gain(point: Point, curve: Sequence[Point]) -> float | None:
    value = interpolate(curve, point.bytes)
    return None if value is None else point.psnr - value
