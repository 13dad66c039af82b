"""Vector quantization of patches with a static code.

With lambda > 0 it is entropy-constrained: a code's length has a price (Chou, Lookabaugh & Gray 1989).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..tokenizer.patch_vq import draw_points, fit_codebooks, patches_by_codebook
from ..tokenizer.patches import from_patches
from .curve_pictures import Pictures
from .curve_points import Point
from .curve_quality import picture_quality
from .static_code import StaticCode, entropy_bits


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
    train = patches_by_codebook(pictures.train, patch, per_place=per_place)
    test = patches_by_codebook(pictures.test, patch, per_place=per_place)
    generator = torch.Generator().manual_seed(seed)
    bits = torch.zeros(2, len(weights), dtype=torch.float64)  # under the training histograms, and under their own
    decoded = [torch.empty_like(test) for _ in weights]
    for book, (points, held_out) in enumerate(zip(train, test, strict=True)):
        points = draw_points(points, max_points, generator)
        for row, codebook in enumerate(fit_codebooks(points, num_codes, weights, num_iterations, seed)):
            known = codebook.assign(points, weights[row]).unsqueeze(1)
            indices = codebook.assign(held_out, weights[row]).unsqueeze(1)
            bits[0, row] += StaticCode(known).bits(indices) * len(indices)
            bits[1, row] += entropy_bits(indices) * len(indices)
            decoded[row][book] = codebook.vectors[indices.squeeze(1)]
    points = []
    for weight, codes, (size, own_size) in zip(
        weights, decoded, (bits.T / len(pictures.test) / 8).tolist(), strict=True
    ):
        quality = picture_quality(pictures.test, _pictures(codes, pictures, patch))
        setting = f"{patch[0]}x{patch[1]}, K {num_codes}, lambda {weight:g}"
        points.append(Point("patch vq", setting, size, quality.psnr, quality.ssim, own_size))
    return points


def _pictures(books: torch.Tensor, pictures: Pictures, patch: tuple[int, int]) -> torch.Tensor:
    """(books, points, D) as `patches_by_codebook` makes them -> (N, H, W, C)."""
    count, height, width, _ = pictures.test.shape
    return from_patches(books.transpose(0, 1).reshape(count, -1, books.shape[-1]), *patch, (height, width))
