"""Points of rate and distortion, the curve of a codec, and how many bytes lie between two curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..tokenizer.distortion import psnr

_STEP = 0.01
"""dB between the places where two curves are compared."""


@dataclass(frozen=True)
class Point:
    """One setting of one codec.

    Attributes:
        codec: whose curve the point belongs to.
        setting: what was set, for people.
        bytes: per picture.
        psnr: dB, of the mean over pictures of the mean squared error of 8-bit values.
        ssim: mean over pictures; None where pictures have a side below 11 pixels.
        own_histogram_bytes: per picture, had the test pictures' own histograms been known; None where there are none.
    """

    codec: str
    setting: str
    bytes: float
    psnr: float
    ssim: float | None = None
    own_histogram_bytes: float | None = None


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


def by_codec(points: Sequence[Point]) -> dict[str, list[Point]]:
    """The frontier of every codec, in the order in which the codecs come."""
    codecs = dict.fromkeys(point.codec for point in points)
    return {codec: frontier([point for point in points if point.codec == codec]) for codec in codecs}


def psnr_at(curve: Sequence[Point], num_bytes: float) -> float | None:
    """PSNR in dB of a codec's frontier at `num_bytes`; None outside its rates.

    Between two points it is that of pictures shared between the two settings: squared errors are linear in bytes.

    Example:
        >>> points = [Point("a", "", size, psnr(error)) for size, error in ((10, 650.25), (40, 65.025))]
        >>> round(psnr_at(points, 25), 6) == round(psnr((650.25 + 65.025) / 2), 6)
        True
    """
    error = _linear([(point.bytes, _error(point.psnr)) for point in frontier(curve)], num_bytes)
    return None if error is None else psnr(error)


def bytes_at(curve: Sequence[Point], decibels: float) -> float | None:
    """Bytes of a codec's frontier at a PSNR in dB; None outside its qualities. Between points see `psnr_at`.

    Example:
        >>> round(bytes_at([Point("a", "", 10, psnr(650.25)), Point("a", "", 40, psnr(65.025))], psnr(357.6375)), 6)
        25.0
    """
    points = [(_error(point.psnr), point.bytes) for point in frontier(curve)]
    return _linear(points[::-1], _error(decibels))


def bjontegaard_rate(curve: Sequence[Point], reference: Sequence[Point]) -> float | None:
    """Mean share of bytes that a curve takes more (+) or less (-) than a reference at equal PSNR.

    The mean of the logarithm of the bytes' ratio over the PSNRs that both frontiers reach (Bjontegaard 2001, VCEG-M33),
    at equal steps of at most 0.01 dB. Between points see `psnr_at`; he fits one polynomial of the third degree, which
    overshoots on long curves.

    Args:
        curve: points of one codec.
        reference: points of the other.

    Returns:
        -0.3 for 30 % fewer bytes; None if no two PSNRs are reached by both.

    Example:
        >>> curves = [[Point("a", "", scale * 10, 20.0), Point("a", "", scale * 40, 26.0)] for scale in (1, 2)]
        >>> round(bjontegaard_rate(*curves), 9)
        -0.5
    """
    ours, theirs = ([point for point in frontier(points) if point.bytes > 0] for points in (curve, reference))
    if not ours or not theirs:
        return None
    low, high = max(ours[0].psnr, theirs[0].psnr), min(ours[-1].psnr, theirs[-1].psnr)
    if not low < high < math.inf:
        return None
    steps = math.ceil((high - low) / _STEP)
    heights = [low + (high - low) * (step + 0.5) / steps for step in range(steps)]
    pairs = [(bytes_at(ours, height), bytes_at(theirs, height)) for height in heights]
    return math.expm1(math.fsum(math.log(own / other) for own, other in pairs if own and other) / steps)


def _linear(points: Sequence[tuple[float, float]], x: float) -> float | None:
    """The piecewise linear function through points of rising x; None outside."""
    for known, value in points:
        if math.isclose(known, x, rel_tol=1e-12):
            return value
    for (low, low_value), (high, high_value) in pairwise(points):
        if low < x < high:
            return low_value + (x - low) / (high - low) * (high_value - low_value)
    return None


def _error(decibels: float) -> float:
    """Mean squared error of 8-bit values; 0 for a perfect copy."""
    return 255**2 * 10 ** (-decibels / 10)


def _slope(first: Point, second: Point) -> float:
    """Change of the mean squared error per byte."""
    return (_error(second.psnr) - _error(first.psnr)) / (second.bytes - first.bytes)
