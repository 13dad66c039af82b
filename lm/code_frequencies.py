"""Chances as whole numbers: the frequencies that an arithmetic coder works with.

With B bits for K symbols every symbol gets one of the 2**B places, so that all can be written, and a share p of the
other 2**B - K, rounded down; what rounding leaves goes to the most likely symbol, the first of equal ones:

    frequency(k) = floor(p(k) * (2**B - K)) + 1

B is `precision(K)`: enough that the rounding costs little, and no more, since computers that differ in the last bits
of p agree on every floor only as long as no p * 2**B lies that close to a whole number.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from .arithmetic_coder import MAX_PRECISION

_LEAST_PRECISION = 16
_BITS_ABOVE_UNIFORM = 8
MAX_SYMBOLS = 1 << (MAX_PRECISION - _BITS_ABOVE_UNIFORM)
"""Larger codebooks have no frequencies."""

_TOLERANCE = 1e-6
"""Of a sum of chances: times 2**24 still far less than the frequency of the likeliest symbol."""


def precision(num_symbols: int) -> int:
    """Bits B of the frequencies of K symbols: 8 more than they take when all are equally likely, and at least 16.

    Raises:
        InputError: more symbols than there is precision for, 65,536.
    """
    bits = max(_LEAST_PRECISION, (num_symbols - 1).bit_length() + _BITS_ABOVE_UNIFORM)
    if num_symbols < 1 or bits > MAX_PRECISION:
        raise InputError(f"frequencies of 1 to {1 << (MAX_PRECISION - _BITS_ABOVE_UNIFORM)} symbols, got {num_symbols}")
    return bits


@dataclass(frozen=True, eq=False)
class FrequencyTables:
    """Frequencies of K symbols in each of B rows.

    Attributes:
        starts: (B, K + 1) int64, 0, then the sums of the frequencies up to each symbol; the last is 2**precision.
        precision: bits.
    """

    starts: torch.Tensor
    precision: int

    @classmethod
    def of(cls, probabilities: torch.Tensor) -> FrequencyTables:
        """Tables of chances.

        Args:
            probabilities: (B, K) float64, rows that sum to 1 but for rounding.

        Raises:
            InputError: not in float64, not finite, negative, or rows of another sum.
        """
        count, bits = probabilities.shape[1], precision(probabilities.shape[1])
        is_sound = ((probabilities.sum(1) - 1).abs() < _TOLERANCE).all() & (probabilities >= 0).all()
        if probabilities.dtype != torch.float64 or not bool(is_sound):
            raise InputError(
                "chances must be float64, 0 or more, in rows that sum to 1; the model gives no such numbers"
            )
        frequencies = (probabilities * ((1 << bits) - count)).long() + 1  # positive, so this rounds down
        likeliest = probabilities.argmax(1, keepdim=True)
        rest = (1 << bits) - frequencies.sum(1, keepdim=True)
        return cls.of_frequencies(frequencies.scatter_add_(1, likeliest, rest), bits)

    @classmethod
    def of_frequencies(cls, frequencies: torch.Tensor, bits: int) -> FrequencyTables:
        """Tables of (B, K) int64 frequencies, 1 or more, rows of which sum to 2**bits."""
        starts = torch.zeros(len(frequencies), frequencies.shape[1] + 1, dtype=torch.int64)
        torch.cumsum(frequencies, 1, out=starts[:, 1:])
        return cls(starts, bits)

    def of_symbols(self, symbols: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B,) symbols -> (B,) starts and (B,) frequencies."""
        starts = self.starts.gather(1, symbols[:, None]).squeeze(1)
        return starts, self.starts.gather(1, symbols[:, None] + 1).squeeze(1) - starts
