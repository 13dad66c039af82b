"""What codes tell of classes, counted on some pictures and tested on others.

The plug-in estimate of mutual information grows with the number of codes and classes, a random code included. Here
p(class | code) is learned from reference pictures and tried on measured ones, so that what was learned by heart costs
bits instead.
"""

from __future__ import annotations

import torch

from .clustering_scores import contingency_table

_STRENGTHS = tuple(2.0**power for power in range(-2, 13))
"""Pictures that the classes' shares among all pictures may count for within each code."""


def held_out_information(
    reference: tuple[torch.Tensor, torch.Tensor],
    measured: tuple[torch.Tensor, torch.Tensor],
    num_codes: int,
    num_classes: int,
) -> float:
    """Bits that p(class | code) of reference pictures tells of the classes of measured ones.

    p(y | s) = (n(s, y) + a p(y)) / (n(s) + a), with the `a` that predicts each reference picture best from all others.

    Args:
        reference: (N,) int64 codes and classes, from which p(class | code) is learned.
        measured: (M,) int64 codes and classes.
        num_codes: K.
        num_classes: Y.

    Returns:
        Cross-entropy of the measured classes under p(y) less that under p(y | s), both of the reference pictures; below
        0 where what was learned misleads.
    """
    codes, classes = reference
    counts = contingency_table(codes, classes, (num_codes, num_classes)).double()
    strength = min(_STRENGTHS, key=lambda tried: _spent_on_the_others(counts, tried))
    shares = _shares(counts)
    chances = (counts + strength * shares) / (counts.sum(1, keepdim=True) + strength)
    return float((chances[measured] / shares[measured[1]]).log2().mean())


def _shares(counts: torch.Tensor) -> torch.Tensor:
    """(Y,) shares of the classes in a (K, Y) table, half a picture added to each: none is impossible."""
    each = counts.sum(0) + 0.5
    return each / each.sum()


def _spent_on_the_others(counts: torch.Tensor, strength: float) -> float:
    """Bits spent on all pictures of a (K, Y) table, each predicted from the others."""
    total, in_class, in_code = counts.sum(), counts.sum(0), counts.sum(1, keepdim=True)
    shares = (in_class - 0.5) / (total - 1 + 0.5 * len(in_class))  # without the picture itself
    chances = (counts - 1 + strength * shares) / (in_code - 1 + strength)
    occurs = counts > 0
    return -float((counts[occurs] * chances[occurs].log2()).sum())
