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
    """Mean squared error of pictures decoded from all levels, and of the prefixes' pictures by their weights.

    Args:
        decode: code vectors to pixels.
        vectors: one (B, D, h_l, w_l) per level, coarse to fine.
        pixel_values: (B, C, H, W).
        counts: (B, L - 1) how often each picture counts in each proper prefix; see `batches.prefix_counts`.
        weights: of the proper prefixes; empty leaves them out.

    Returns:
        Scalar; what `ImageTokenizer.forward` calls distortion + prefix_loss.
    """
    loss = F.mse_loss(decode(vectors, len(vectors)).float(), pixel_values.float())
    for num_levels, weight in enumerate(weights, 1):
        rows = counts[:, num_levels - 1].nonzero().squeeze(1)
        if weight and len(rows):
            prefix = decode([level[rows] for level in vectors], num_levels)
            errors = (prefix.float() - pixel_values[rows].float()).square().mean((1, 2, 3))  # (rows,)
            loss = loss + weight * (counts[rows, num_levels - 1] * errors).sum() / len(counts)
    return loss
