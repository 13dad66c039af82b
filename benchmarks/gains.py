"""A tokenizer's prefixes of levels beside the curves of codecs without a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from pictogram import InputError
from pictogram.pipelines.curve_points import Point, by_codec, psnr_at


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
        Point(name, f"{levels} levels", total / 8, value, own_histogram_bytes=own_total / 8)
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
        values = [psnr_at(curve, rate) for rate in rates]
        lines.append([codec, *("-" if value is None else f"{value:.2f}" for value in values)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _held_out_bits(results: Mapping[str, Any]) -> list[float] | None:
    """Bits per level in the better of two tables of code words learned elsewhere; None without them."""
    tables = [results.get(name) for name in ("reference_bits", "reference_position_bits")]
    found = [table for table in tables if table]
    return [min(bits) for bits in zip(*found, strict=True)] if found else None


def _gain(point: Point, curve: Sequence[Point]) -> float | None:
    value = psnr_at(curve, point.bytes)
    return None if value is None else point.psnr - value
