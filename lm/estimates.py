"""Means and shares over pictures with their 95 % intervals.

A mean, and a sum over one thing per another (bits per byte), are one formula: R = sum a / sum b, with b = 1 for a mean.
Its standard error is that of the mean of the residuals a - R b, divided by the mean of b (the delta method; Cochran,
Sampling Techniques, 1977, section 2.11), and the interval is the normal approximation, R +- 1.96 standard errors. A
paired difference of two figures over the same pictures is the figure of the differences. A share has Wilson's interval
(1927), which stays inside 0..1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

Z = 1.959963984540054
"""Standard errors to either side that hold 95 % of a normal distribution."""


@dataclass(frozen=True)
class Estimate:
    """A figure over pictures.

    Attributes:
        value: None if there was no picture to measure.
        standard_error: of the value; None with fewer than two pictures.
        num_images: pictures it was measured on.
    """

    value: float | None
    standard_error: float | None
    num_images: int

    @property
    def interval(self) -> tuple[float, float] | None:
        """Both ends of the 95 % interval."""
        if self.value is None or self.standard_error is None:
            return None
        return self.value - Z * self.standard_error, self.value + Z * self.standard_error

    def minus(self, other: Estimate) -> Estimate:
        """The difference of two figures over different pictures, unpaired; its `num_images` is the smaller one."""
        value = error = None
        if self.value is not None and other.value is not None:
            value = self.value - other.value
        if self.standard_error is not None and other.standard_error is not None:
            error = math.hypot(self.standard_error, other.standard_error)
        return Estimate(value, error, min(self.num_images, other.num_images))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"value": self.value, "interval": self.interval and list(self.interval), "num_images": self.num_images}


def estimate(values: torch.Tensor, per: torch.Tensor | float = 1.0) -> Estimate:
    """The sum of `values` over the sum of `per`.

    Args:
        values: (N,) one per picture; NaN leaves the picture out.
        per: what they are counted in, (N,) or the same for every picture; above 0 in sum.

    Example:
        >>> bits, size = torch.tensor([4.0, 8.0, 9.0]), torch.tensor([2.0, 4.0, 4.0])
        >>> round(estimate(bits).value, 3), round(estimate(bits, size).value, 3)
        (7.0, 2.1)
    """
    a = values.double()
    b = torch.as_tensor(per, dtype=torch.float64).expand_as(a)
    known = ~a.isnan()
    a, b, count = a[known], b[known], int(known.sum())
    if not count:
        return Estimate(None, None, 0)
    ratio = float(a.sum() / b.sum())
    error = float((a - ratio * b).std() / b.mean() / math.sqrt(count)) if count > 1 else None
    return Estimate(ratio, error, count)


@dataclass(frozen=True)
class Share:
    """A share of pictures.

    Attributes:
        value: 0..1.
        interval: Wilson's, 95 %.
        num_images: pictures in all.
    """

    value: float
    interval: tuple[float, float]
    num_images: int

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"value": self.value, "interval": list(self.interval), "num_images": self.num_images}


def share(hits: int, total: int) -> Share:
    """The share of `hits` among `total` pictures, at least one.

    Example:
        >>> [round(end, 3) for end in share(0, 10).interval]
        [0.0, 0.278]
    """
    value, square = hits / total, Z**2
    centre = (value + square / (2 * total)) / (1 + square / total)
    half = Z * math.sqrt(value * (1 - value) / total + square / (4 * total**2)) / (1 + square / total)
    ends = (centre - half if hits else 0.0, centre + half if hits < total else 1.0)  # exactly, whatever the rounding
    return Share(value, ends, total)
