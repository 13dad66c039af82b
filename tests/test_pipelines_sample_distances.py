"""Distances to the nearest pictures, precision and recall."""

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.pipelines import sample_distances
from pictogram.pipelines.sample_distances import (
    compare_distances,
    nearest_distances,
    nearest_of_class,
    precision_recall,
    quantiles,
)


def gaussian(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)) + shift


@pytest.mark.parametrize("block", [1 << 25, 10])
def test_distances_are_exact_however_they_are_divided(monkeypatch, block):
    monkeypatch.setattr(sample_distances, "_BLOCK", block)
    queries, points = gaussian(30, 0), gaussian(50, 1)
    expected = torch.cdist(queries.double(), points.double()).min(1).values / 2  # root of 4 numbers
    assert torch.allclose(nearest_distances(queries, points), expected)


def test_a_copy_is_at_no_distance_even_far_from_zero():
    points = torch.randint(0, 256, (40, 784), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert nearest_distances(points, points.flip(0)).max() == 0


def test_distances_within_classes():
    points, classes = torch.tensor([[0.0], [10.0]]), torch.tensor([0, 1])
    found = nearest_of_class(torch.tensor([[1.0], [1.0]]), torch.tensor([0, 1]), points, classes)
    assert found.tolist() == [1.0, 9.0]
    with pytest.raises(InputError, match="class 2 has no training pictures"):
        nearest_of_class(torch.tensor([[1.0]]), torch.tensor([2]), points, classes)


def test_quantiles():
    assert quantiles(torch.arange(101.0)) == {"percentile_1": 1.0, "median": 50.0}


@pytest.mark.parametrize("block", [1 << 25, 100])
def test_precision_falls_for_foreign_samples_and_recall_for_few_kinds(monkeypatch, block):
    monkeypatch.setattr(sample_distances, "_BLOCK", block)
    real = gaussian(400, 0)
    same = precision_recall(real, gaussian(400, 1))
    assert same.precision > 0.9 and same.recall > 0.9
    foreign = precision_recall(real, torch.cat([gaussian(200, 1), gaussian(200, 2, shift=20.0)]))
    assert foreign.precision == pytest.approx(0.5, abs=0.05)
    narrow = precision_recall(real, 0.1 * gaussian(400, 1))
    assert narrow.precision > 0.95 and narrow.recall < 0.3
    assert precision_recall(real, real) == type(same)(1.0, 1.0)


def test_manifolds_by_hand():
    real = torch.tensor([[0.0], [1.0], [2.0], [10.0]])
    samples = torch.tensor([[0.5], [2.9], [30.0], [31.0]])
    # With one neighbour the balls around real pictures reach 1, 1, 1 and 8; around samples 2.4, 2.4, 1 and 1.
    found = precision_recall(real, samples, neighbours=1)
    assert (found.precision, found.recall) == (0.5, 0.75)


def test_too_few_pictures():
    with pytest.raises(InputError, match="more than 3 pictures, got 3, 10"):
        precision_recall(gaussian(3, 0), gaussian(10, 1))


def test_few_copies_show_where_quantiles_do_not():
    unseen = torch.rand(10_000, generator=torch.Generator().manual_seed(0)).double() + 1
    samples = torch.rand(10_000, generator=torch.Generator().manual_seed(1)).double() + 1
    samples[:50] = 0  # one sample in two hundred is a copy
    found = compare_distances(samples, {"real test": unseen})
    assert found["ratio"]["real test"]["percentile_1"] > 0.99
    assert found["suspect"]["real test"] == pytest.approx(0.006, abs=0.001)


def test_copies_show_where_unseen_pictures_are_copies_too():
    unseen = torch.rand(1000, generator=torch.Generator().manual_seed(0)).double() + 1
    unseen[:2] = 0  # two test pictures stand among the training pictures
    found = compare_distances(torch.zeros(50).double(), {"real test": unseen})
    assert found["suspect"]["real test"] == 1.0
    assert found["suspect_expected"]["real test"] == pytest.approx(0.002)


def test_what_is_expected_of_few_pictures_without_copies():
    generator = torch.Generator().manual_seed(0)
    for count in (100, 1000):
        sets = torch.rand(400, 2, count, generator=generator).double()
        found = [compare_distances(samples, {"real test": unseen}) for samples, unseen in sets]
        mean = sum(each["suspect"]["real test"] for each in found) / len(found)
        assert mean == pytest.approx(found[0]["suspect_expected"]["real test"], rel=0.2)
