"""Spectral embedding: points that many short steps between neighbours connect come to lie together.

The smoothest functions on the graph of neighbours are the first eigenvectors of its Laplacian (Belkin & Niyogi 2003);
rows of length 1 cluster by k-means (Ng, Jordan & Weiss 2001).
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .neighbours import Neighbours

_SCALE_NEIGHBOUR = 6
"""Distances count in units of that to the seventh neighbour (Zelnik-Manor & Perona 2004), or the last there is."""

_EXTRA = 8
"""Directions more than asked for: they converge last, and are dropped."""

_STEPS_BETWEEN = 5
"""Products between two times that the directions are made orthogonal again."""

_POWER = 32
"""Steps of diffusion (Coifman & Lafon 2006): how much less the less smooth directions count."""


@torch.no_grad()
def spectral_embedding(neighbours: Neighbours, dim: int, *, num_iterations: int = 200, seed: int = 0) -> torch.Tensor:
    """The graph's smoothest directions, by subspace iteration.

    Args:
        neighbours: of N points.
        dim: D, directions; the first is nearly constant where all points hang together.
        num_iterations: products with the graph.
        seed: of the first directions.

    Returns:
        (N, D) float32 rows of length 1. Directions beyond N are 0.
    """
    weights, degrees = _normalised_weights(neighbours)
    count = min(dim + _EXTRA, len(degrees))
    vectors = torch.randn(len(degrees), count, generator=torch.Generator().manual_seed(seed))
    for iteration in range(num_iterations):
        # Halfway between staying and stepping no eigenvalue is negative, so the largest are those wanted.
        vectors = (vectors + weights @ vectors) / 2
        if iteration % _STEPS_BETWEEN == 0 or iteration + 1 == num_iterations:
            vectors = torch.linalg.qr(vectors).Q
    values, turn = torch.linalg.eigh(vectors.T @ (weights @ vectors))
    smooth = (vectors @ turn).flip(1)[:, :dim] * values.flip(0)[:dim].clamp(min=0) ** _POWER
    signs = torch.where(smooth.sum(0) < 0, -1.0, 1.0)  # an eigenvector's sign is chance
    rows = F.normalize(smooth * signs / degrees.sqrt()[:, None], dim=1)
    return F.pad(rows, (0, dim - rows.shape[1]))


def _normalised_weights(neighbours: Neighbours) -> tuple[torch.Tensor, torch.Tensor]:
    """Sparse D^-1/2 W D^-1/2 (N, N) of the symmetric graph, and D (N,)."""
    size, count = neighbours.indices.shape
    distances = 2 - 2 * neighbours.similarities
    scale = distances[:, min(_SCALE_NEIGHBOUR, count - 1), None].clamp(min=1e-6)
    weights = (-distances / scale).exp().flatten()
    rows = torch.arange(size).repeat_interleave(count)
    ends = torch.stack([rows, neighbours.indices.flatten()])
    graph = _sparse(torch.cat([ends, ends.flip(0)], 1), weights.repeat(2) / 2, size)
    degrees = torch.zeros(size).index_add_(0, graph.indices()[0], graph.values()).clamp(min=1e-12)
    first, second = graph.indices()
    values = graph.values() / (degrees[first] * degrees[second]).sqrt()
    return _sparse(graph.indices(), values, size), degrees


def _sparse(indices: torch.Tensor, values: torch.Tensor, size: int) -> torch.Tensor:
    return torch.sparse_coo_tensor(indices, values, (size, size), check_invariants=True).coalesce()
