"""Points that a chain of neighbours connects come to lie together."""

import math

import torch

from pictogram.tokenizer.kmeans import kmeans
from pictogram.tokenizer.neighbours import Neighbours, find_neighbours
from pictogram.tokenizer.quantizer import nearest
from pictogram.tokenizer.spectral_embedding import spectral_embedding


def crescents(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two half circles that reach into each other, in three dimensions, and which of them each point is of."""
    angle = torch.linspace(0, math.pi, count)
    outer = torch.stack([angle.cos(), angle.sin()], 1)
    inner = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    points = torch.cat([outer, inner]) + 0.03 * torch.randn(2 * count, 2, generator=torch.Generator().manual_seed(0))
    return torch.cat([points / 4, torch.ones(2 * count, 1)], 1), torch.arange(2 * count) // count


def agreement(codes: torch.Tensor, kinds: torch.Tensor) -> float:
    share = float((codes == kinds).float().mean())
    return max(share, 1 - share)


def test_kinds_that_no_ball_divides():
    points, kinds = crescents(150)
    by_place = nearest(points, kmeans(points, 2, num_iterations=30))
    embedded = spectral_embedding(find_neighbours(points, 8), 2)
    by_chains = nearest(embedded, kmeans(embedded, 2, num_iterations=30))
    assert agreement(by_place, kinds) < 0.95
    assert agreement(by_chains, kinds) > 0.99


def test_rows_of_length_one_the_same_every_time():
    neighbours = find_neighbours(torch.randn(60, 4, generator=torch.Generator().manual_seed(0)), 5)
    first = spectral_embedding(neighbours, 3, seed=1)
    assert first.shape == (60, 3)
    assert torch.allclose(first.norm(dim=1), torch.ones(60), atol=1e-5)
    assert torch.equal(first, spectral_embedding(neighbours, 3, seed=1))


def test_the_start_is_forgotten():
    neighbours = find_neighbours(crescents(60)[0], 6)
    first, second = (spectral_embedding(neighbours, 2, seed=seed, num_iterations=2000) for seed in (0, 1))
    assert torch.allclose((first @ first.T), (second @ second.T), atol=1e-2)


def test_it_is_the_eigenvectors_of_the_whole_matrix():
    points = torch.randn(40, 3, generator=torch.Generator().manual_seed(2))
    found = find_neighbours(points, 6)
    weights = torch.zeros(40, 40)
    distances = 2 - 2 * found.similarities
    weights.scatter_(1, found.indices, (-distances / distances[:, 5:6]).exp())
    weights = (weights + weights.T) / 2
    degrees = weights.sum(1)
    values, vectors = torch.linalg.eigh(weights / (degrees[:, None] * degrees).sqrt())
    expected = vectors.flip(1)[:, :3] * values.flip(0)[:3] ** 32 / degrees.sqrt()[:, None]
    expected = expected / expected.norm(dim=1, keepdim=True)
    embedded = spectral_embedding(found, 3, num_iterations=3000)
    assert torch.allclose(embedded @ embedded.T, expected @ expected.T, atol=1e-3)


def test_fewer_points_than_directions():
    embedded = spectral_embedding(Neighbours(torch.tensor([[1], [0], [1]]), torch.ones(3, 1)), 5)
    assert embedded.shape == (3, 5)
    assert embedded.isfinite().all()
