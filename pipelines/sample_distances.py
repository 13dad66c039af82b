"""Distances from pictures to the nearest of others: whether samples are copies, and how they cover what is real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..hub.errors import InputError

_BLOCK = 1 << 25
"""Most distances held at once."""

NEIGHBOURS = 3
"""Whose distance is the radius of a point's ball, as the paper of `precision_recall` has it."""

QUANTILES = {"percentile_1": 0.01, "median": 0.5}

_FEW = 0.001
"""Share of unseen pictures that lie nearer to a training picture than the rest: samples as near are suspect."""

NO_SETS = ("ratio", "suspect", "suspect_expected")
"""What `compare_distances` returns beside quantiles of sets."""


def nearest_distances(queries: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """From each query to the nearest point.

    The search is by inner products, which lose nearly equal points to rounding; the distance to what it finds is exact.

    Args:
        queries: (N, D), N at least 1.
        points: (M, D), M at least 1.

    Returns:
        (N,) float64: the root of the mean squared difference over the D numbers.

    Example:
        >>> nearest_distances(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), torch.tensor([[0.0, 2.0], [9.0, 9.0]]))
        tensor([1.4142, 0.0000], dtype=torch.float64)
    """
    found = []
    points = points.float()
    lengths = points.square().sum(1)
    for block in queries.float().split(max(1, _BLOCK // len(points))):
        nearest = (lengths - 2 * (block @ points.T)).argmin(1)
        found.append((block.double() - points[nearest].double()).square().mean(1).sqrt())
    return torch.cat(found)


def nearest_of_class(
    queries: torch.Tensor, query_classes: torch.Tensor, points: torch.Tensor, point_classes: torch.Tensor
) -> torch.Tensor:
    """From each query to the nearest point of its own class, see `nearest_distances`.

    Args:
        queries: (N, ...).
        query_classes: (N,) int64.
        points: (M, ...).
        point_classes: (M,) int64.

    Raises:
        InputError: a class of the queries has no points.
    """
    distances = torch.empty(len(queries), dtype=torch.float64)
    for number in query_classes.unique().tolist():
        own, others = query_classes == number, point_classes == number
        if not others.any():
            raise InputError(f"class {number} has no training pictures to be near to")
        distances[own] = nearest_distances(queries[own].flatten(1), points[others].flatten(1))
    return distances


def quantiles(distances: torch.Tensor) -> dict[str, float]:
    """Of (N,) distances, by the names of `QUANTILES`."""
    return {name: float(distances.quantile(share)) for name, share in QUANTILES.items()}


def compare_distances(samples: torch.Tensor, references: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Distances of samples to training pictures beside those of pictures that no model has learned from.

    Args:
        samples: (N,) distances, see `nearest_of_class`.
        references: by name (M,) distances of other pictures, of about the same classes.

    Returns:
        `quantiles` of every set; `ratio`: by reference the samples' quantiles over its own, None over 0;
        `suspect`: by reference the share of samples no further than all but .001 of it, which shows copies where they
        are too few for quantiles; `suspect_expected`: by reference what that is without copies. That is .001 only of
        many pictures: the nearest of 100 has one in 101 before it, and where some are copies themselves, all of them.

    Example:
        >>> found = compare_distances(torch.tensor([0.0, 2.0]), {"real test": torch.tensor([4.0, 4.0])})
        >>> found["ratio"]["real test"]["median"], found["suspect"]["real test"]
        (0.25, 1.0)
    """
    found: dict[str, Any] = {name: quantiles(distances) for name, distances in references.items()}
    drawn = quantiles(samples)
    ratios = {
        name: {which: drawn[which] / value if value else None for which, value in values.items()}
        for name, values in found.items()
    }
    near = {name: float(distances.quantile(_FEW)) for name, distances in references.items()}
    suspect = {name: _share_within(samples, near[name]) for name in references}
    expected = {
        name: max((_FEW * (len(distances) - 1) + 1) / (len(distances) + 1), _share_within(distances, near[name]))
        for name, distances in references.items()
    }
    return found | {"samples": drawn, "ratio": ratios, "suspect": suspect, "suspect_expected": expected}


def _share_within(distances: torch.Tensor, most: float) -> float:
    return float((distances <= most).double().mean())


@dataclass(frozen=True)
class PrecisionRecall:
    """How two sets of features overlap, 0 to 1.

    Attributes:
        precision: share of the samples inside the manifold of the real pictures.
        recall: share of the real pictures inside the manifold of the samples.
    """

    precision: float
    recall: float


def precision_recall(real: torch.Tensor, samples: torch.Tensor, neighbours: int = NEIGHBOURS) -> PrecisionRecall:
    """Improved precision and recall (Kynkäänniemi et al. 2019, arXiv:1904.06991, section 2).

    A set's manifold is the union of balls around its members, each as large as the distance to the k-th nearest other
    member. Both figures depend on the numbers of pictures, which should be equal.

    Args:
        real: (N, D) features, N above `neighbours`.
        samples: (M, D), M above `neighbours`.
        neighbours: k.

    Raises:
        InputError: too few pictures.
    """
    if min(len(real), len(samples)) <= neighbours:
        raise InputError(f"precision and recall need more than {neighbours} pictures, got {len(real)}, {len(samples)}")
    return PrecisionRecall(
        precision=_share_inside(samples, real, _radii(real, neighbours)),
        recall=_share_inside(real, samples, _radii(samples, neighbours)),
    )


def _radii(points: torch.Tensor, neighbours: int) -> torch.Tensor:
    """(N,) distance of each point to its k-th nearest other."""
    rows = max(1, _BLOCK // len(points))
    # Each point is nearest to itself, with a distance of zero.
    return torch.cat([torch.cdist(part, points).kthvalue(neighbours + 1).values for part in points.split(rows)])


def _share_inside(queries: torch.Tensor, points: torch.Tensor, radii: torch.Tensor) -> float:
    rows = max(1, _BLOCK // len(points))
    inside = [(torch.cdist(part, points) <= radii).any(1) for part in queries.split(rows)]
    return float(torch.cat(inside).double().mean())
