"""Ideal lengths of static codes: one histogram per position, learned on one set and used on another.

No adaptation and no context: what a table of code words, sent once, can do. A learned prior must beat it.
"""

from __future__ import annotations

import torch

SMOOTHING = 0.1
"""Added to the count of every value between a position's lowest and highest, and to its escape."""

_ROWS = 4096  # at once: whole training sets as int64 would fill the memory


class StaticCode:
    """Code words for integers at P positions, from the histograms of a training set.

    A position's alphabet is the range of its training values and an escape. A value outside the range is the escape, a
    sign and the Elias gamma code (Elias 1975) of its distance to the range, so that every integer has a code word.
    """

    def __init__(self, values: torch.Tensor):
        """Counts `values`, (N, P) of any whole numbers."""
        self.low, self.high = values.amin(0).long(), values.amax(0).long()  # (P,)
        widths = self.high - self.low + 1
        self.starts = widths.cumsum(0) - widths
        total = len(values) + SMOOTHING * (widths + 1)  # (P,)
        counts = self._counts(values, int(widths.sum()))
        # Bits, all alphabets in a row.
        self.lengths = total.repeat_interleave(widths).log2() - (counts + SMOOTHING).log2()
        self.escape_lengths = total.log2() - torch.tensor(SMOOTHING).log2()  # (P,) bits

    def bits(self, values: torch.Tensor) -> float:
        """Bits per row of `values` (N, P), on average, in the code words of the training set."""
        total = 0.0
        for rows in values.split(_ROWS):
            rows = rows.long()
            known = torch.minimum(torch.maximum(rows, self.low), self.high)
            distance = (rows - known).abs()  # 0 inside the range
            escaped = distance > 0
            inside = self.lengths[self.starts + known - self.low]
            gamma = 2 * distance.clamp(min=1).double().log2().floor() + 1
            total += float(torch.where(escaped, self.escape_lengths + 1 + gamma, inside).sum(dtype=torch.float64))
        return total / len(values)

    def _counts(self, values: torch.Tensor, size: int) -> torch.Tensor:
        counts = torch.zeros(size, dtype=torch.float64)
        for rows in values.split(_ROWS):
            counts += torch.bincount((self.starts + rows.long() - self.low).flatten(), minlength=size)
        return counts


def entropy_bits(values: torch.Tensor) -> float:
    """Bits per row of `values` (N, P) under the values' own histograms: what no static code per position can beat."""
    code = StaticCode(values)
    counts = code._counts(values, len(code.lengths))
    shares = counts[counts > 0] / len(values)
    return float(-(shares * shares.log2()).sum())
