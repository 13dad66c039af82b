"""What a code takes when nothing of its image is known but its place: one histogram of the codes for each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from code_contexts import LevelContexts, Slot

SMOOTHINGS = tuple(2.0**power for power in range(-10, 6))


class Histograms:
    """How often each code of a level came, apart for all values of some slots; p(x) = (c(x) + s) / (n + K s).

    Args:
        contexts: of the level.
        slots: none for one histogram of the whole level.
        train: documents to count, see `code_contexts.document_table`.
        validation: other documents, to choose s of `SMOOTHINGS` on.

    Attributes:
        counts: (histograms, K).
        smoothing: s.
    """

    def __init__(self, contexts: LevelContexts, slots: Sequence[Slot], train: np.ndarray, validation: np.ndarray):
        self.slots, self.num_codes, self._num_positions = slots, contexts.num_codes, contexts.num_positions
        num_histograms = math.prod(slot.size for slot in slots)
        cells = self._numbers(train) * self.num_codes + contexts.targets(train)
        counts = np.bincount(cells.reshape(-1), minlength=num_histograms * self.num_codes)
        self.counts = counts.reshape(num_histograms, self.num_codes)
        cells = self._numbers(validation), contexts.targets(validation)
        self.smoothing = max(SMOOTHINGS, key=lambda smoothing: float(self._logarithms(smoothing)[cells].sum()))

    @property
    def num_entries(self) -> int:
        """Codes that came at all, in all histograms."""
        return int((self.counts > 0).sum())

    def log_probabilities(self, documents: np.ndarray) -> torch.Tensor:
        """(B, P, K) in nats."""
        return torch.from_numpy(self._logarithms(self.smoothing)[self._numbers(documents)])

    def _numbers(self, documents: np.ndarray) -> np.ndarray:
        """(B, P) of the histograms."""
        numbers = np.zeros((len(documents), self._num_positions), np.int64)
        for slot in self.slots:
            numbers = numbers * slot.size + slot.read(documents)
        return numbers

    def _logarithms(self, smoothing: float) -> np.ndarray:
        smoothed = self.counts + smoothing
        return np.log(smoothed / smoothed.sum(1, keepdims=True))
