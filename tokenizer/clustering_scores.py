"""Scores of a clustering: how far its clusters lie apart, and how far two clusterings agree."""

from __future__ import annotations

import importlib.util

import torch
from torch.nn import functional as F

from ..hub.errors import InputError

_ROWS_AT_ONCE = 1024
"""Rows of a matrix of distances that are held together."""


def silhouette(points: torch.Tensor, indices: torch.Tensor, num_clusters: int) -> float:
    """Mean silhouette width (Rousseeuw 1987), -1 to 1: how much nearer points are to their cluster than to the next.

    Args:
        points: (N, D) float.
        indices: (N,) int64, their clusters, 0..num_clusters - 1; a point alone in its cluster counts 0.
        num_clusters: K.

    Returns:
        NaN where fewer than two clusters have points.
    """
    membership = F.one_hot(indices, num_clusters).to(points.dtype)  # (N, K)
    counts = membership.sum(0)  # (K,)
    if int((counts > 0).sum()) < 2:
        return float("nan")
    widths: list[torch.Tensor] = []
    for rows, own in zip(points.split(_ROWS_AT_ONCE), indices.split(_ROWS_AT_ONCE), strict=True):
        sums = torch.cdist(rows, points) @ membership  # (n, K)
        own_column = own[:, None]
        inside = (sums.gather(1, own_column) / (counts[own_column] - 1).clamp(min=1)).squeeze(1)
        others = (sums / counts).masked_fill(counts == 0, torch.inf).scatter(1, own_column, torch.inf)
        outside = others.min(1).values
        width = (outside - inside) / torch.maximum(outside, inside).clamp(min=1e-12)
        widths.append(width.masked_fill(counts[own] == 1, 0.0))
    return float(torch.cat(widths).mean())


def adjusted_rand_index(first: torch.Tensor, second: torch.Tensor) -> float:
    """How far two clusterings of the same N things agree (Hubert and Arabie 1985): 1 wholly, 0 as by chance.

    Args:
        first: (N,) integers of 0 or more.
        second: (N,) integers of 0 or more.

    Example:
        >>> adjusted_rand_index(torch.tensor([0, 0, 1, 1]), torch.tensor([5, 5, 2, 2]))
        1.0
    """
    table = contingency_table(first, second).double()
    pairs, first_pairs, second_pairs = (_pairs(counts) for counts in (table, table.sum(1), table.sum(0)))
    expected = first_pairs * second_pairs / max(_pairs(table.sum()), 1.0)
    most = (first_pairs + second_pairs) / 2
    return 1.0 if most == expected else (pairs - expected) / (most - expected)  # equal where there is nothing to tell


def clustering_accuracy(clusters: torch.Tensor, classes: torch.Tensor) -> float:
    """Share of things in the right class if each cluster stands for one class and each class for one cluster at most.

    The best such naming is found by the Hungarian method (Kuhn 1955; as in Xie et al. 2016, arXiv:1511.06335). Clusters
    beyond the number of classes stay without a name.

    Args:
        clusters: (N,) integers of 0 or more.
        classes: (N,) integers of 0 or more.

    Raises:
        InputError: scipy is not installed.

    Example:
        >>> clustering_accuracy(torch.tensor([0, 0, 1, 1, 1]), torch.tensor([1, 1, 0, 0, 1]))
        0.8
    """
    if importlib.util.find_spec("scipy") is None:
        raise InputError("clustering accuracy needs scipy: pip install scipy")
    from scipy.optimize import linear_sum_assignment

    table = contingency_table(clusters, classes)
    rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
    return float(table[rows, columns].sum()) / len(classes)


def contingency_table(first: torch.Tensor, second: torch.Tensor, shape: tuple[int, int] | None = None) -> torch.Tensor:
    """How often each pair occurs in two (N,) integers of 0 or more.

    Args:
        first: (N,).
        second: (N,).
        shape: of the table, above every value; by default the smallest that holds them all.

    Returns:
        int64 of that shape.
    """
    shape = shape or (int(first.max()) + 1, int(second.max()) + 1)
    return torch.bincount(first.long() * shape[1] + second.long(), minlength=shape[0] * shape[1]).view(shape)


def _pairs(counts: torch.Tensor) -> float:
    """Pairs of things in the same cell."""
    return float((counts * (counts - 1) / 2).sum())
