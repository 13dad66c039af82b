"""Clusters of equal shares."""

from __future__ import annotations

import pytest
import torch

from pictogram.tokenizer.balanced_kmeans import balanced_kmeans
from pictogram.tokenizer.kmeans import kmeans, mean_squared_distance
from pictogram.tokenizer.quantizer import nearest


def blobs(counts: list[int], centers: torch.Tensor, scale: float, seed: int = 0) -> torch.Tensor:
    noise = torch.randn(sum(counts), centers.shape[1], generator=torch.Generator().manual_seed(seed)) * scale
    return centers.repeat_interleave(torch.tensor(counts), 0) + noise


def shares(points: torch.Tensor, centroids: torch.Tensor) -> torch.Tensor:
    return torch.bincount(nearest(points, centroids), minlength=len(centroids)) / len(points)


@pytest.mark.parametrize("seed", range(5))
def test_blobs_of_one_size_are_found_from_every_start(seed: int):
    centers = torch.eye(6) * 3
    points = blobs([50] * 6, centers, 0.3, seed)
    found = balanced_kmeans(points, 6, seed=seed)
    assert torch.cdist(centers, found).amin(1).max() < 0.2
    assert shares(points, found).tolist() == pytest.approx([1 / 6] * 6)


def test_a_narrow_cloud_is_divided_where_kmeans_divides_the_wide_one():
    """Two thirds of the points lie in a narrow cloud, one third in a wide one: equal shares mean two codes there."""
    centers = torch.tensor([[0.0, 0.0], [10.0, 0.0]])
    points = torch.cat([blobs([600], centers[:1], 1.0), blobs([300], centers[1:], 2.0, seed=1)])
    assert shares(points, balanced_kmeans(points, 3)).min() > 0.28
    usual = shares(points, kmeans(points, 3, num_iterations=30, num_starts=3))
    assert usual.max() > 0.6


def test_uneven_clouds_get_codes_by_their_size():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(5000, 4, generator=generator) * torch.tensor([3.0, 1.0, 1.0, 0.5])
    found = shares(points, balanced_kmeans(points, 16))
    assert found.min() > 0.5 / 16
    assert found.max() < 1.6 / 16


def test_the_same_seed_gives_the_same_bytes():
    points = torch.randn(25_000, 3, generator=torch.Generator().manual_seed(0))  # more than are used at once
    first, second = (balanced_kmeans(points, 8, seed=3) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, balanced_kmeans(points, 8, seed=4))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_fewer_points_than_clusters(count: int):
    points = torch.arange(count, dtype=torch.float32)[:, None].repeat(1, 2)
    found = balanced_kmeans(points, 8)
    assert found.shape == (8, 2)
    assert torch.isfinite(found).all()


def test_equal_points_stay_where_they_are():
    found = balanced_kmeans(torch.full((20, 3), 2.5), 4)
    assert torch.equal(found, torch.full((4, 3), 2.5))


def test_the_best_of_several_tries_is_kept():
    """The first try is among them, so several are never worse, and better where it was not the best."""
    gains = []
    for seed in range(4):
        points = torch.randn(200, 3, generator=torch.Generator().manual_seed(seed))
        one, best = (
            mean_squared_distance(points, balanced_kmeans(points, 12, seed=seed, num_starts=n)) for n in (1, 6)
        )
        gains.append(one - best)
    assert min(gains) >= 0
    assert max(gains) > 0.01
