"""Vector quantization of patches with a static code.

With lambda > 0 it is entropy-constrained: a code's length has a price (Chou, Lookabaugh & Gray 1989).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from curves import Point
from patches import Pictures, squared_error, to_patches
from static_code import StaticCode, entropy_bits

from pictogram.tokenizer.distortion import psnr
from pictogram.tokenizer.kmeans import kmeans
from pictogram.tokenizer.quantizer import nearest


@dataclass(frozen=True)
class Codebook:
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

    def updated(self, points: torch.Tensor, indices: torch.Tensor) -> Codebook:
        """Centroids and code words of `points` under the codes `indices`."""
        counts = torch.bincount(indices, minlength=len(self.vectors))
        sums = torch.zeros_like(self.vectors).index_add_(0, indices, points)
        used = counts > 0
        return Codebook(sums[used] / counts[used].unsqueeze(1), (len(points) / counts[used]).log2())


def fit_codebooks(
    points: torch.Tensor, num_codes: int, weights: Sequence[float], num_iterations: int, seed: int
) -> Iterator[Codebook]:
    """One codebook per weight, each learned from the one before: a large weight at once would empty most codes.

    Args:
        points: (N, D) float32.
        num_codes: K at the start.
        weights: lambda, squared error per bit, from small to large.
        num_iterations: of k-means at the start, half of it per weight.
        seed: of the start.
    """
    vectors = kmeans(points, num_codes, num_iterations=num_iterations, seed=seed)
    codebook = Codebook(vectors, torch.zeros(num_codes)).updated(points, nearest(points, vectors))
    for weight in weights:
        for _ in range(max(1, num_iterations // 2) if weight else 0):
            codebook = codebook.updated(points, codebook.assign(points, weight))
        yield codebook


def patch_vq_points(
    pictures: Pictures,
    patch: tuple[int, int],
    num_codes: int,
    weights: Sequence[float],
    *,
    per_place: bool,
    max_points: int,
    num_iterations: int = 10,
    seed: int = 0,
) -> list[Point]:
    """Rate and distortion of patches, one point per weight.

    Args:
        pictures: to learn from and to measure.
        patch: rows and columns in pixels; they divide the pictures.
        num_codes: K.
        weights: lambda, squared error of 8-bit values per bit, from small to large; 0 is k-means.
        per_place: a codebook and a histogram for every place of a patch in the picture; else one for all.
        max_points: patches that each codebook learns from, drawn at random if there are more.
        num_iterations: see `fit_codebooks`.
        seed: of the draws.
    """
    train, test = to_patches(pictures.train, *patch), to_patches(pictures.test, *patch)
    generator = torch.Generator().manual_seed(seed)
    train = train.transpose(0, 1) if per_place else train.flatten(0, 1).unsqueeze(0)  # (codebooks, points, D)
    places = test.transpose(0, 1) if per_place else test.flatten(0, 1).unsqueeze(0)
    sums = torch.zeros(3, len(weights), dtype=torch.float64)  # bits, bits under own histograms, squared error
    for points, held_out in zip(train, places, strict=True):
        points = points[torch.randperm(len(points), generator=generator)[:max_points]]
        for row, codebook in enumerate(fit_codebooks(points, num_codes, weights, num_iterations, seed)):
            known = codebook.assign(points, weights[row]).unsqueeze(1)
            indices = codebook.assign(held_out, weights[row]).unsqueeze(1)
            sums[0, row] += StaticCode(known).bits(indices) * len(indices)
            sums[1, row] += entropy_bits(indices) * len(indices)
            sums[2, row] += squared_error(held_out, codebook.vectors[indices.squeeze(1)])
    bits, own_bits, errors = sums.tolist()
    return [
        Point(
            codec="patch vq",
            setting=f"{patch[0]}x{patch[1]}, K {num_codes}, lambda {weight:g}",
            bytes=bits[row] / len(test) / 8,
            psnr=psnr(errors[row] / test.numel()),
            own_histogram_bytes=own_bits[row] / len(test) / 8,
        )
        for row, weight in enumerate(weights)
    ]
