"""How far decoded pictures are from their originals, for every prefix of levels: PSNR and SSIM.

Everything is measured on 8-bit values and on the pictures themselves, without the padding around them.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .padding import Box
from .reconstructions import Reconstructions, over_contents
from .ssim import WINDOW, ssim


@dataclass(frozen=True)
class Distortion:
    """Figures over a set of pictures, one per prefix of levels, coarse to fine; None for a prefix that is not decoded.

    Attributes:
        psnr: dB, of the mean over pictures of the mean squared error.
        mean_psnr: dB, the mean over pictures of each picture's PSNR. A perfect copy has none: it is left out here and
            counted in `perfect_copies`. Infinite if all are perfect.
        perfect_copies: pictures that came back without any error.
        ssim: mean over pictures; None if it was not asked for, or if a picture has a side below 11 pixels.
    """

    psnr: list[float | None]
    mean_psnr: list[float | None]
    perfect_copies: list[int | None]
    ssim: list[float | None] | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: the PSNR of perfect copies is null there."""
        finite = {name: [_finite(value) for value in getattr(self, name)] for name in ("psnr", "mean_psnr")}
        return asdict(self) | finite


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of 8-bit values; infinite for a perfect copy.

    Example:
        >>> round(psnr(65.025), 6)
        30.0
    """
    return 10 * math.log10(255**2 / mean_squared_error) if mean_squared_error else math.inf


def mean_squared_error(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Two (B, C, H, W) -> (B,) float64."""
    return (first - second).double().square().mean((1, 2, 3))


class DistortionMeter:
    """Gathers the errors of pictures, batch by batch.

    Args:
        with_ssim: whether to measure SSIM too, which takes most of the time.
    """

    def __init__(self, *, with_ssim: bool):
        self.with_ssim = with_ssim
        self._errors: list[list[torch.Tensor | None]] = []  # per batch and prefix, (B,)
        self._similarities: list[list[torch.Tensor | None]] = []

    def add(self, batch: Reconstructions) -> None:
        """Measures one batch."""
        self._errors.append([_measure(mean_squared_error, batch, pixels) for pixels in batch.prefixes])
        self.with_ssim = self.with_ssim and all(_has_windows(box) for box in batch.boxes)
        if self.with_ssim:
            self._similarities.append([_measure(ssim, batch, pixels) for pixels in batch.prefixes])

    def result(self) -> Distortion:
        """The figures over all batches so far."""
        errors = _by_prefix(self._errors)
        similarities = _by_prefix(self._similarities) if self.with_ssim else None
        return Distortion(
            psnr=[None if error is None else psnr(float(error.mean())) for error in errors],
            mean_psnr=[None if error is None else _mean_psnr(error) for error in errors],
            perfect_copies=[None if error is None else int((error == 0).sum()) for error in errors],
            ssim=None
            if similarities is None
            else [None if values is None else float(values.mean()) for values in similarities],
        )


def _measure(function: Any, batch: Reconstructions, pixels: torch.Tensor | None) -> torch.Tensor | None:
    return None if pixels is None else over_contents(batch.boxes, function, batch.original, pixels).cpu()


def _has_windows(box: Box) -> bool:
    return min(box.height, box.width) >= WINDOW


def _by_prefix(batches: list[list[torch.Tensor | None]]) -> list[torch.Tensor | None]:
    """Per batch and prefix (B,) -> per prefix (N,)."""
    columns = zip(*batches, strict=True)
    gathered = [[part for part in column if part is not None] for column in columns]
    return [torch.cat(parts) if parts else None for parts in gathered]


def _mean_psnr(errors: torch.Tensor) -> float:
    values = [psnr(error) for error in errors.tolist() if error]
    return math.fsum(values) / len(values) if values else math.inf


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
