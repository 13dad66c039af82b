import math

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.frechet import GaussianMoments, frechet_distance


def moments(*batches: torch.Tensor) -> GaussianMoments:
    gathered = GaussianMoments()
    for batch in batches:
        gathered.add(batch)
    return gathered


def exact(mean: torch.Tensor, covariance: torch.Tensor) -> GaussianMoments:
    """2 F points with exactly this mean and unbiased covariance: along every axis of the root, both ways."""
    root = torch.linalg.cholesky(covariance.double())
    size = len(mean)
    steps = root.T * math.sqrt((2 * size - 1) / 2)
    return moments(torch.cat([mean + steps, mean - steps]))


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_moments_are_those_of_the_whole():
    features = normal(0, 50, 6) * torch.arange(1.0, 7) + 1000
    for parts in ([50], [1, 49], [7] * 7 + [1]):
        found = moments(*features.split(parts))
        assert found.count == 50
        assert torch.allclose(found.mean, features.mean(0), rtol=1e-13)
        assert torch.allclose(found.covariance, features.T.cov(), rtol=1e-9, atol=1e-9)


def test_equal_sets_have_no_distance():
    features = normal(0, 300, 20)
    assert frechet_distance(moments(features), moments(features)) == pytest.approx(0, abs=1e-10)
    few = normal(1, 5, 20)  # fewer pictures than features: a singular covariance
    assert frechet_distance(moments(few), moments(few)) == pytest.approx(0, abs=1e-10)


def test_a_shift_counts_with_its_square():
    features, shift = normal(0, 100, 4), torch.tensor([3.0, 0, -4, 0], dtype=torch.float64)
    assert frechet_distance(moments(features), moments(features + shift)) == pytest.approx(25)


def test_diagonal_covariances_in_closed_form():
    first, second = torch.tensor([1.0, 4, 9, 0.25]), torch.tensor([2.0, 1, 16, 25])
    mean = torch.tensor([0.5, 0, -1, 2])
    expected = float(mean.square().sum() + (first.sqrt() - second.sqrt()).square().sum())
    found = frechet_distance(exact(torch.zeros(4), first.diag()), exact(mean, second.diag()))
    assert found == pytest.approx(expected, rel=1e-6)


def test_covariances_that_do_not_commute():
    first = torch.tensor([[2.0, 1], [1, 2]]).double()
    second = torch.tensor([[3.0, 0], [0, 1]]).double()
    # For 2 x 2: tr (A B)^1/2 = sqrt(tr(A B) + 2 sqrt(det(A B)))
    cross = math.sqrt(float((first @ second).trace()) + 2 * math.sqrt(3 * 3))
    found = frechet_distance(exact(torch.zeros(2), first), exact(torch.zeros(2), second))
    assert found == pytest.approx(4 + 4 - 2 * cross, rel=1e-9)


def test_symmetric_and_unmoved_by_rotation():
    first, second = normal(0, 200, 5), normal(1, 150, 5) @ normal(2, 5, 5)
    rotation = torch.linalg.qr(normal(3, 5, 5)).Q
    distance = frechet_distance(moments(first), moments(second))
    assert distance > 1
    assert frechet_distance(moments(second), moments(first)) == pytest.approx(distance, rel=1e-9)
    turned = frechet_distance(moments(first @ rotation), moments(second @ rotation))
    assert turned == pytest.approx(distance, rel=1e-9)


def test_too_few_or_unequal_features():
    with pytest.raises(InputError, match="at least 2 pictures, got 1"):
        frechet_distance(moments(normal(0, 1, 3)), moments(normal(0, 5, 3)))
    with pytest.raises(InputError, match="one length, got 3 and 4"):
        moments(normal(0, 5, 3), normal(0, 5, 4))
