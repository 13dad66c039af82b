"""Lloyd's k-means with the k-means++ start, deterministic given its seed."""

from __future__ import annotations

import torch

from .quantizer import nearest


def kmeans(
    points: torch.Tensor, num_clusters: int, *, num_iterations: int = 10, seed: int = 0, num_starts: int = 1
) -> torch.Tensor:
    """Clusters `points` (Arthur & Vassilvitskii 2007 for the start).

    Args:
        points: (N, D) float; N may be smaller than `num_clusters`.
        num_clusters: K.
        num_iterations: Lloyd steps.
        seed: of the starts' draws.
        num_starts: tries, of which the one with the least squared distances is kept.

    Returns:
        (K, D) centroids. With fewer distinct points than K the surplus centroids repeat points.
    """
    points = points.float()
    generator = torch.Generator().manual_seed(seed)
    tries = [_one_try(points, num_clusters, num_iterations, generator) for _ in range(num_starts)]
    return tries[0] if num_starts == 1 else min(tries, key=lambda centroids: mean_squared_distance(points, centroids))


def mean_squared_distance(points: torch.Tensor, centroids: torch.Tensor) -> float:
    """Of (N, D) points to the nearest of (K, D) centroids, summed over D."""
    return float((points - centroids[nearest(points, centroids)]).double().square().sum(1).mean())


def _one_try(points: torch.Tensor, num_clusters: int, num_iterations: int, generator: torch.Generator) -> torch.Tensor:
    centroids = _plus_plus(points, num_clusters, generator)
    for _ in range(num_iterations):
        indices = nearest(points, centroids)
        counts = torch.bincount(indices, minlength=num_clusters).unsqueeze(1)  # (K, 1)
        sums = torch.zeros_like(centroids).index_add_(0, indices, points)
        centroids = torch.where(counts > 0, sums / counts.clamp(min=1), centroids)
    return centroids


def _plus_plus(points: torch.Tensor, num_clusters: int, generator: torch.Generator) -> torch.Tensor:
    """Draws each start centroid with a chance proportional to its squared distance from those drawn before."""
    centroids = points.new_empty(num_clusters, points.shape[1])
    distance = torch.full((len(points),), torch.inf, device=points.device)
    chosen = int(torch.randint(len(points), (), generator=generator))
    for k in range(num_clusters):
        centroids[k] = points[chosen]
        distance = torch.minimum(distance, (points - centroids[k]).square().sum(1))
        cumulative = distance.double().cumsum(0)
        threshold = torch.rand((), generator=generator, dtype=torch.float64).to(points.device) * cumulative[-1]
        chosen = min(int(torch.searchsorted(cumulative, threshold, right=True)), len(points) - 1)
    return centroids
