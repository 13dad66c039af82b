"""Fréchet distance between two sets of features, each taken for a Gaussian.

Dowson and Landau 1982, "The Fréchet distance between multivariate normal distributions". The figure depends on the
feature space, on both numbers of pictures and on their size, so it is never given without them; only in the features of
one certain Inception network is it called FID.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..hub.errors import InputError


@dataclass(frozen=True)
class FrechetResult:
    """A distance, and all that it depends on.

    Attributes:
        features: name of the feature space.
        features_sha256: of the file behind it; None for a built-in space.
        feature_dimension: F.
        reference_split: the originals compared with.
        reference_count: their number.
        evaluated_count: decoded pictures.
        prefix: coarse levels that they are decoded from.
        picture_size: height and width of the pictures compared, pixels, without padding; None if they differ.
        distance: squared Fréchet distance between reference originals and decoded pictures, in the features' unit
            squared.
        floor: the same between reference originals and the originals of the decoded pictures: what sampling alone
            makes, 0 where both are one set.
    """

    features: str
    features_sha256: str | None
    feature_dimension: int
    reference_split: str
    reference_count: int
    evaluated_count: int
    prefix: int
    picture_size: tuple[int, int] | None
    distance: float
    floor: float


class GaussianMoments:
    """Mean and covariance of features that come in batches, in float64 (joined as by Chan, Golub and LeVeque 1983).

    Attributes:
        count: rows seen.
        mean: (F,).
    """

    def __init__(self) -> None:
        self.count = 0
        self.mean = torch.zeros(0, dtype=torch.float64)
        self._scatter = torch.zeros(0, 0, dtype=torch.float64)  # sum over rows of (x - mean)(x - mean)^T

    def add(self, features: torch.Tensor) -> None:
        """Takes in (B, F)."""
        features = features.double()
        mean = features.mean(0)
        scatter = (features - mean).T @ (features - mean)
        if not self.count:
            self.count, self.mean, self._scatter = len(features), mean, scatter
            return
        if len(mean) != len(self.mean):
            raise InputError(f"features must have one length, got {len(self.mean)} and {len(mean)}")
        total = self.count + len(features)
        shift = mean - self.mean
        self._scatter += scatter + torch.outer(shift, shift) * (self.count * len(features) / total)
        self.mean = self.mean + shift * (len(features) / total)
        self.count = total

    @property
    def covariance(self) -> torch.Tensor:
        """(F, F), unbiased.

        Raises:
            InputError: fewer than two rows.
        """
        if self.count < 2:
            raise InputError(f"a covariance needs at least 2 pictures, got {self.count}")
        return self._scatter / (self.count - 1)


def frechet_distance(first: GaussianMoments, second: GaussianMoments) -> float:
    """|m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1^1/2 S2 S1^1/2)^1/2: the square of the Fréchet distance, as is usual.

    Raises:
        InputError: fewer than two rows on either side.
    """
    root = _square_root(first.covariance)
    product = root @ second.covariance @ root
    cross = _eigenvalues((product + product.T) / 2).sqrt().sum()
    traces = first.covariance.trace() + second.covariance.trace()
    return max(0.0, float((first.mean - second.mean).square().sum() + traces - 2 * cross))


def _square_root(matrix: torch.Tensor) -> torch.Tensor:
    """The symmetric root of a symmetric positive semidefinite (F, F)."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * _without_noise(values).sqrt()) @ vectors.T


def _eigenvalues(matrix: torch.Tensor) -> torch.Tensor:
    return _without_noise(torch.linalg.eigvalsh(matrix))


def _without_noise(values: torch.Tensor) -> torch.Tensor:
    """Eigenvalues that only rounding made differ from zero become zero; their roots would add up."""
    noise = values.amax().clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    return torch.where(values > noise, values, 0.0)
