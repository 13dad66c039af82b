"""Do points cluster? Every statistic stands beside the same of one Gaussian with the points' mean and covariance.

Rules of thumb mislead: a Hopkins statistic against a uniform box calls a single Gaussian clustered, and every k-means
has some silhouette. Only the distance from a cloud without clusters says anything, and only beside its spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields

import torch

from ..hub.errors import InputError
from .batches import derived_generator
from .clustering_scores import adjusted_rand_index, silhouette
from .kmeans import kmeans
from .quantizer import nearest

_NUM_ITERATIONS = 30
"""Of each k-means."""
_MIN_POINTS = 50


@dataclass(frozen=True)
class BesideGaussian:
    """A statistic over draws of points, and over draws of a Gaussian with their mean and covariance.

    Attributes:
        points: mean of the statistic of the points.
        low: its 2.5th percentile.
        high: its 97.5th percentile.
        gaussian: mean of the statistic of the Gaussian.
        gaussian_low: its 2.5th percentile.
        gaussian_high: its 97.5th percentile.
        z: standard deviations of the Gaussian's draws between the two means; NaN where these draws do not differ.
    """

    points: float
    low: float
    high: float
    gaussian: float
    gaussian_low: float
    gaussian_high: float
    z: float


@dataclass(frozen=True)
class Gaussian:
    """One Gaussian.

    Attributes:
        mean: (D,) float64.
        root: (D, D) float64, root @ root.T is its covariance.
    """

    mean: torch.Tensor
    root: torch.Tensor

    @classmethod
    def of(cls, points: torch.Tensor) -> Gaussian:
        """With the mean and the covariance of (N, D) points; directions in which they do not vary stay empty."""
        points = points.double()
        values, vectors = torch.linalg.eigh(torch.cov(points.T).reshape(points.shape[1], -1))
        return cls(points.mean(0), vectors * values.clamp(min=0).sqrt())

    def draw(self, count: int, generator: torch.Generator) -> torch.Tensor:
        """(count, D) float32."""
        noise = torch.randn(count, len(self.mean), generator=generator, dtype=torch.float64)
        return (self.mean + noise @ self.root.T).float()


def hopkins(points: torch.Tensor, seed: int = 0) -> float:
    """Hopkins and Skellam 1954, with a Gaussian in place of a uniform box: .5 for one Gaussian, towards 1 for clusters.

    As many probes as points, at most 1000, are drawn from the Gaussian of the points. U sums the probes' distances to
    their nearest points, W the distances of as many points to their nearest others; the statistic is U / (U + W).

    Args:
        points: (N, D) float, two or more.
        seed: of the draws.
    """
    generator = derived_generator(seed, "hopkins")
    count = min(1000, len(points))
    probes = Gaussian.of(points).draw(count, generator)
    rows = torch.randperm(len(points), generator=generator)[:count]
    between = torch.cdist(points[rows], points).scatter(1, rows[:, None], torch.inf)
    to_others = float(between.min(1).values.double().sum())
    to_points = float(torch.cdist(probes, points).min(1).values.double().sum())
    return to_points / (to_points + to_others) if to_points + to_others else 0.5  # all points in one place


@dataclass(frozen=True)
class ClusterStatistics:
    """What is asked of points. All but `hopkins` are of a k-means with a given number of clusters.

    Attributes:
        hopkins: see `hopkins`.
        silhouette: see `clustering_scores.silhouette`.
        within_share: squared distances to the nearest centroids over those to the mean, 0..1.
        margin: median over the points of the distance to the second nearest centroid over that to the nearest, 1 or
            more.
        stability: adjusted Rand index between two k-means of the same points with different starts.
    """

    hopkins: float
    silhouette: float
    within_share: float
    margin: float
    stability: float

    @classmethod
    def of(cls, points: torch.Tensor, num_clusters: int, seed: int = 0) -> ClusterStatistics:
        """Of (N, D) float points that are not all the same."""
        first, second = (
            kmeans(points, num_clusters, num_iterations=_NUM_ITERATIONS, seed=start)
            for start in (2 * seed, 2 * seed + 1)
        )
        indices, distances = nearest(points, first), torch.cdist(points, first)
        two = distances.topk(2, largest=False).values  # (N, 2)
        return cls(
            hopkins=hopkins(points, seed),
            silhouette=silhouette(points, indices, num_clusters),
            within_share=float(two[:, 0].square().sum() / (points - points.mean(0)).square().sum()),
            margin=float((two[:, 1] / two[:, 0].clamp(min=1e-12)).median()),
            stability=adjusted_rand_index(indices, nearest(points, second)),
        )


def beside_gaussian(
    points: torch.Tensor,
    num_clusters: int,
    *,
    num_draws: int = 20,
    points_per_draw: int = 2000,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> dict[str, BesideGaussian]:
    """`ClusterStatistics` of points and of their Gaussian, by the statistic's name.

    Each draw takes half of the points without replacement, `points_per_draw` at most, since a point that is drawn twice
    would have its nearest neighbour at no distance; and as many of the Gaussian.

    Args:
        points: (N, D) float, 50 or more.
        num_clusters: of k-means, 2 to a quarter of the points of a draw.
        num_draws: two or more.
        points_per_draw: most points of a draw.
        seed: of all draws.
        progress: called with the number of draws done since the last call.

    Raises:
        InputError: too few points, draws or clusters, or points that are all the same.
    """
    size = min(points_per_draw, len(points) // 2)
    _check(points, num_clusters, num_draws, size)
    points, gaussian = points.float(), Gaussian.of(points)
    found: list[list[list[float]]] = []
    for draw in range(num_draws):
        generator = derived_generator(seed, "draw", draw)
        rows = torch.randperm(len(points), generator=generator)[:size]
        pair = points[rows], gaussian.draw(size, generator)
        found.append([list(asdict(ClusterStatistics.of(cloud, num_clusters, draw)).values()) for cloud in pair])
        if progress:
            progress(1)
    values = torch.tensor(found, dtype=torch.float64)  # (draws, 2, statistics)
    return {field.name: _summary(values[..., place]) for place, field in enumerate(fields(ClusterStatistics))}


def _check(points: torch.Tensor, num_clusters: int, num_draws: int, size: int) -> None:
    if size < _MIN_POINTS // 2 or num_draws < 2:
        raise InputError(
            f"at least {_MIN_POINTS} points and 2 draws are expected, got {len(points)} points and {num_draws} draws"
        )
    if not 2 <= num_clusters <= size // 4:
        raise InputError(f"num_clusters must be 2 to {size // 4} with {size} points a draw, got {num_clusters}")
    if not float(points.float().std(0).max()):
        raise InputError(f"all {len(points)} points are the same: nothing can be told of clusters")


def _summary(values: torch.Tensor) -> BesideGaussian:
    """(draws, 2), of the points and of the Gaussian."""
    means, ends = values.mean(0).tolist(), values.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), 0)
    spread = float(values[:, 1].std())
    (low, gaussian_low), (high, gaussian_high) = ends.tolist()
    z = (means[0] - means[1]) / spread if spread else math.nan
    return BesideGaussian(means[0], low, high, means[1], gaussian_low, gaussian_high, z)
