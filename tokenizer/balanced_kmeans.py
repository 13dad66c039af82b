"""Clusters of equal shares: k-means whose clusters get about as many points each, so that a code tells all it can.

Points are shared out softly by optimal transport (Cuturi 2013, arXiv:1306.0895), as in self-labelling (Asano, Rupprecht
& Vedaldi 2020, arXiv:1911.05371), while the softness falls (deterministic annealing, Rose 1998): the result hardly
depends on where the centroids start.
"""

from __future__ import annotations

import math

import torch

from .batches import derived_generator
from .kmeans import kmeans, mean_squared_distance

_MOST_POINTS = 10_000
"""Drawn from more: distances to all centroids are kept."""

_NUM_START_STEPS = 5

_SOFTEST, _HARDEST = 1.5, 0.15
"""Temperatures, in mean squared distances to the nearest of the first centroids. Softer, all centroids would be one;
harder, what comes out depends on the start."""

_NUM_ITERATIONS = 40

_NUM_SHARINGS = 5
"""Sinkhorn steps an iteration, which goes on from where the one before ended."""

_APART = 1e-3
"""Centroids that have met part again once it is cool enough, if they are not quite equal."""


@torch.no_grad()
def balanced_kmeans(points: torch.Tensor, num_clusters: int, *, seed: int = 0, num_starts: int = 1) -> torch.Tensor:
    """Clusters `points` such that each cluster gets about the same share of them.

    Args:
        points: (N, D) float; N may be smaller than `num_clusters`.
        num_clusters: K.
        seed: of the points that are drawn, and of the starts.
        num_starts: tries, of which the one with the least squared distances is kept.

    Returns:
        (K, D) float32 centroids. The nearest of them is a code of nearly log2 K bits; where points cannot be divided
        evenly (many equal ones, clouds of different widths) shares differ.
    """
    points = points.float()
    if len(points) > _MOST_POINTS:
        drawn = torch.randperm(len(points), generator=derived_generator(seed, "balanced"))[:_MOST_POINTS].sort().values
        points = points[drawn.to(points.device)]
    tries = [_one_try(points, num_clusters, derived_generator(seed, "start", start)) for start in range(num_starts)]
    return min(tries, key=lambda centroids: mean_squared_distance(points, centroids))


def _one_try(points: torch.Tensor, num_clusters: int, generator: torch.Generator) -> torch.Tensor:
    first = int(torch.randint(1 << 31, (), generator=generator))
    centroids = kmeans(points, num_clusters, num_iterations=_NUM_START_STEPS, seed=first)
    unit = mean_squared_distance(points, centroids)
    if unit == 0:
        return centroids
    prices = points.new_zeros(num_clusters)
    for iteration in range(_NUM_ITERATIONS):
        done = iteration / (_NUM_ITERATIONS - 1)
        temperature = unit * _SOFTEST ** (1 - done) * _HARDEST**done
        distances = torch.cdist(points, centroids).square()
        prices = _balanced(distances, prices, temperature)
        chances = torch.softmax((prices - distances) / temperature, 1)  # (N, K)
        centroids = chances.T @ points / chances.sum(0).clamp(min=1e-12).unsqueeze(1)
        apart = torch.randn(centroids.shape, generator=generator).to(points.device)
        centroids += _APART * math.sqrt(unit / points.shape[1]) * apart
    return centroids


def _balanced(distances: torch.Tensor, prices: torch.Tensor, temperature: float) -> torch.Tensor:
    """(K,) what to add to each cluster's (N, K) closeness for all to get the same share; better with every step."""
    share = math.log(len(distances) / len(prices))
    for _ in range(_NUM_SHARINGS):
        chances = torch.log_softmax((prices - distances) / temperature, 1)
        prices = prices - temperature * (torch.logsumexp(chances, 0) - share)
    return prices
