"""The errors of decoded pictures that a tokenizer's training counts, for any decoder of code vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

Decode = Callable[[Sequence[torch.Tensor], int], torch.Tensor]
"""One (B, D, h_l, w_l) of code vectors per level, and how many coarse levels to use -> (B, C, H, W)."""


def picture_loss(
    decode: Decode,
    vectors: Sequence[torch.Tensor],
    pixel_values: torch.Tensor,
    counts: torch.Tensor,
    weights: Sequence[float],
) -> torch.Tensor:
    """Mean squared error of pictures decoded from all levels, and `prefix_loss`, which says what the arguments are.

    Returns:
        Scalar; what `ImageTokenizer.forward` calls distortion + prefix_loss.
    """
    distortion = F.mse_loss(decode(vectors, len(vectors)).float(), pixel_values.float())
    return distortion + prefix_loss(decode, vectors, pixel_values, counts, weights)


def prefix_loss(
    decode: Decode,
    vectors: Sequence[torch.Tensor],
    pixel_values: torch.Tensor,
    counts: torch.Tensor,
    weights: Sequence[float],
) -> torch.Tensor:
    """Mean squared errors of the pictures that proper prefixes of the levels decode to, by their weights.

    Args:
        decode: code vectors to pixels.
        vectors: one (B, D, h_l, w_l) per level, coarse to fine.
        pixel_values: (B, C, H, W).
        counts: (B, L - 1) how often each picture counts in each proper prefix; see `batches.prefix_counts`.
        weights: of the proper prefixes; 0 leaves one out, and empty all.

    Returns:
        Scalar.
    """
    loss = torch.zeros((), device=pixel_values.device)
    for num_levels, weight in enumerate(weights, 1):
        if weight:
            rows = counts[:, num_levels - 1].nonzero().squeeze(1)
            if not len(rows):  # one that counts 0: all processes must give gradients to the same parameters
                rows = rows.new_zeros(1)
            prefix = decode([level[rows] for level in vectors], num_levels)
            errors = (prefix.float() - pixel_values[rows].float()).square().mean((1, 2, 3))  # (rows,)
            loss = loss + weight * (counts[rows, num_levels - 1] * errors).sum() / len(counts)
    return loss
