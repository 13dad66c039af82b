import math

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer import clustering_scores
from pictogram.tokenizer.clustering_scores import (
    adjusted_rand_index,
    clustering_accuracy,
    contingency_table,
    silhouette,
)


def test_the_silhouette_of_four_points_by_hand():
    points = torch.tensor([[0.0], [1.0], [10.0], [12.0]])
    widths = [1 - 1 / 11, 1 - 1 / 10, 1 - 2 / 9.5, 1 - 2 / 11.5]
    assert silhouette(points, torch.tensor([0, 0, 1, 1]), 2) == pytest.approx(sum(widths) / 4)


def test_a_point_alone_counts_nothing_and_empty_clusters_are_no_neighbours():
    points = torch.tensor([[0.0], [1.0], [10.0]])
    widths = [1 - 1 / 10, 1 - 1 / 9, 0]
    assert silhouette(points, torch.tensor([0, 0, 2]), 5) == pytest.approx(sum(widths) / 3)


def test_one_cluster_has_no_silhouette():
    assert math.isnan(silhouette(torch.randn(5, 2), torch.zeros(5, dtype=torch.int64), 3))


def test_a_wrong_clustering_has_a_negative_silhouette():
    points = torch.tensor([[0.0], [10.0], [0.5], [10.5]])
    assert silhouette(points, torch.tensor([0, 0, 1, 1]), 2) < -0.4


def test_parts_of_the_distances_make_the_whole(monkeypatch):
    points, indices = torch.randn(50, 3), torch.randint(4, (50,))
    whole = silhouette(points, indices, 4)
    monkeypatch.setattr("pictogram.tokenizer.clustering_scores._ROWS_AT_ONCE", 7)
    assert silhouette(points, indices, 4) == pytest.approx(whole, abs=1e-6)


def test_the_rand_index_of_hubert_and_arabies_formula():
    first, second = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 1, 1, 2, 2])
    # Pairs: 1 + 1 = 2 in common, 6 and 3 in each, 15 in all: (2 - 6 * 3 / 15) / (4.5 - 6 * 3 / 15).
    assert adjusted_rand_index(first, second) == pytest.approx((2 - 1.2) / (4.5 - 1.2))


def test_the_rand_index_knows_no_names_and_averages_to_nothing():
    first = torch.randint(10, (5000,), generator=torch.Generator().manual_seed(0))
    renamed = torch.randperm(10, generator=torch.Generator().manual_seed(1))[first]
    other = torch.randint(10, (5000,), generator=torch.Generator().manual_seed(2))
    assert adjusted_rand_index(first, renamed) == pytest.approx(1)
    assert adjusted_rand_index(first, other) == pytest.approx(0, abs=0.005)
    assert adjusted_rand_index(torch.zeros(4), torch.zeros(4)) == 1


def test_each_class_names_one_cluster_at_most():
    clusters, classes = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 0, 0, 1])
    assert clustering_accuracy(clusters, classes) == pytest.approx(3 / 6)  # two of cluster 0 and cluster 2, or 1 and 0
    assert clustering_accuracy(torch.arange(6), torch.zeros(6, dtype=torch.int64)) == pytest.approx(1 / 6)
    assert clustering_accuracy(torch.tensor([2, 2, 0]), torch.tensor([0, 0, 1])) == 1


def test_missing_scipy_is_named(monkeypatch):
    monkeypatch.setattr(clustering_scores.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs scipy: pip install scipy"):
        clustering_accuracy(torch.zeros(2), torch.zeros(2))


def test_pairs_are_counted():
    table = contingency_table(torch.tensor([0, 1, 1]), torch.tensor([2, 0, 0]))
    assert table.tolist() == [[0, 0, 1], [2, 0, 0]]
