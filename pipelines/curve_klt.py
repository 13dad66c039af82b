"""Karhunen-Loeve transform (PCA) of pictures or blocks, a uniform quantizer and a static code.

The best orthogonal transform of Gaussian pictures (Huang & Schultheiss 1963) with one step for all coefficients, which
is how equal slopes of rate and distortion are had at high rates. Computed in RGB, where the error is measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from ..tokenizer.patches import from_patches, to_patches
from .curve_pictures import Pictures
from .curve_points import Point
from .curve_quality import picture_quality
from .static_code import StaticCode, entropy_bits

MOST_VALUES = 4096
"""In a block: the time to find a basis grows with the third power."""

_ROWS = 8192


@dataclass(frozen=True)
class Klt:
    """A mean and an orthonormal basis.

    Attributes:
        mean: (D,) float32.
        basis: (D, D) float32, one vector a column, in the order of falling variance.
    """

    mean: torch.Tensor
    basis: torch.Tensor

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """(N, D) -> (N, D) coefficients."""
        return (vectors - self.mean) @ self.basis

    def inverse(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(N, D) coefficients -> (N, D)."""
        return coefficients @ self.basis.T + self.mean


def fit_klt(vectors: torch.Tensor) -> Klt:
    """Learns mean and basis from (N, D)."""
    mean = vectors.mean(0, dtype=torch.float64).float()
    covariance = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64)
    for rows in vectors.split(_ROWS):  # sums of many float32 products would lose the small variances
        covariance += (rows - mean).T @ (rows - mean)
    _, basis = torch.linalg.eigh(covariance / len(vectors))  # variances rise
    return Klt(mean, basis.flip(1).float())


def klt_points(pictures: Pictures, rows: int, columns: int, steps: Sequence[float]) -> Iterator[Point]:
    """Rate and distortion of blocks of `rows` x `columns` pixels; of whole pictures if they have that size.

    Args:
        pictures: to learn from and to measure.
        rows: of a block, in pixels; divides the pictures' height.
        columns: of a block, in pixels; divides the pictures' width.
        steps: of the quantizer, in units of 8-bit values.

    Raises:
        InputError: a block holds more than `MOST_VALUES` values.
    """
    size = (pictures.test.shape[1], pictures.test.shape[2])
    blocks = to_patches(pictures.test, rows, columns)  # (N, P, D)
    if blocks.shape[-1] > MOST_VALUES:
        raise InputError(f"a KLT of blocks of at most {MOST_VALUES} values is feasible, got {blocks.shape[-1]}")
    train = to_patches(pictures.train, rows, columns).flatten(0, 1)
    klt = fit_klt(train)
    train, test = klt.forward(train), klt.forward(blocks.flatten(0, 1))
    for step in steps:
        indices = (test / step).round()
        code = StaticCode((train / step).round())
        decoded = from_patches(klt.inverse(indices * step).view_as(blocks), rows, columns, size)
        quality = picture_quality(pictures.test, decoded)
        yield Point(
            codec="klt",
            setting=f"{rows}x{columns}, step {step:g}",
            bytes=code.bits(indices) * blocks.shape[1] / 8,
            psnr=quality.psnr,
            ssim=quality.ssim,
            own_histogram_bytes=entropy_bits(indices) * blocks.shape[1] / 8,
        )
