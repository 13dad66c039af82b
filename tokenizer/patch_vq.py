"""Codebooks of patches: k-means, and with a price on bits entropy-constrained (Chou, Lookabaugh & Gray 1989)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from .kmeans import kmeans
from .patches import to_patches
from .quantizer import nearest


@dataclass(frozen=True)
class PatchCodebook:
    """Vectors and the lengths of their code words.

    Attributes:
        vectors: (K, D) float32.
        bits: (K,) float32, -log2 of each vector's share of the training points; codes that none of them takes are gone.
    """

    vectors: torch.Tensor
    bits: torch.Tensor

    def assign(self, points: torch.Tensor, weight: float) -> torch.Tensor:
        """(N, D) -> (N,) codes of least squared distance + `weight` * bits."""
        return nearest(points, self.vectors, bias=weight * self.bits)

    def updated(self, points: torch.Tensor, indices: torch.Tensor) -> PatchCodebook:
        """Centroids and code words of `points` under the codes `indices`."""
        counts = torch.bincount(indices, minlength=len(self.vectors))
        sums = torch.zeros_like(self.vectors).index_add_(0, indices, points)
        used = counts > 0
        return PatchCodebook(sums[used] / counts[used].unsqueeze(1), (len(points) / counts[used]).log2())


def fit_codebooks(
    points: torch.Tensor, num_codes: int, weights: Sequence[float], num_iterations: int, seed: int
) -> Iterator[PatchCodebook]:
    """One codebook per weight, each learned from the one before: a large weight at once would empty most codes.

    Args:
        points: (N, D) float32.
        num_codes: K at the start.
        weights: lambda, squared error per bit, from small to large.
        num_iterations: of k-means at the start, half of it per weight.
        seed: of the start.
    """
    vectors = kmeans(points, num_codes, num_iterations=num_iterations, seed=seed)
    codebook = PatchCodebook(vectors, torch.zeros(num_codes)).updated(points, nearest(points, vectors))
    for weight in weights:
        for _ in range(max(1, num_iterations // 2) if weight else 0):
            codebook = codebook.updated(points, codebook.assign(points, weight))
        yield codebook


def patches_by_codebook(pictures: torch.Tensor, patch: tuple[int, int], *, per_place: bool) -> torch.Tensor:
    """(N, H, W, C) -> (codebooks, points, D) float32: the patches that share a codebook.

    Args:
        pictures: of one size.
        patch: rows and columns in pixels; they divide the pictures.
        per_place: a codebook for every place of a patch in the picture; else one for all.
    """
    patches = to_patches(pictures, *patch)
    return patches.transpose(0, 1) if per_place else patches.flatten(0, 1).unsqueeze(0)


def draw_points(points: torch.Tensor, most: int, generator: torch.Generator) -> torch.Tensor:
    """At most so many of (N, D) points, drawn without repetition."""
    return points[torch.randperm(len(points), generator=generator)[:most]]
