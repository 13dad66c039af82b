"""Counts of codes in contexts, each falling back on a shorter context where it has seen little.

A context is a row of slots. It falls back on itself without its last slot, and so on down to the empty context and the
uniform distribution. The estimate is the interpolated one of the two-parameter process of Pitman and Yor (Teh 2006, "A
hierarchical Bayesian language model based on Pitman-Yor processes"),

    p(x | context) = (max(c(x) - d, 0) + (a + d t) p(x | shorter context)) / (n + a),

where c are counts, n is their sum and t the number of distinct codes. With a = 0 it is absolute discounting, with d = 0
Dirichlet smoothing. Every context has its own strength a and discount d, chosen on images that were not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from code_contexts import LevelContexts, Slot

Context = tuple[str, ...]
"""Names of slots."""

STRENGTHS = tuple(4.0**power for power in range(-1, 6))
DISCOUNTS = tuple(tenth / 10 for tenth in range(10))

_KEPT = 1 << 23
"""A table of at most so many values keeps its distributions; those of a larger one are made when they are needed."""


class Counts:
    """How often each code followed each value of a context.

    Values are numbered. One is found by the number of the shorter context's value and the value of the last slot; the
    number of a value that never came is -1.

    Args:
        shorter: (n,) numbers of the shorter context's values, one per code to count.
        last: (n,) values of the last slot, 0..size - 1.
        size: of the last slot.
        targets: (n,) the codes, 0..num_codes - 1.
        num_codes: K.
    """

    def __init__(self, shorter: np.ndarray, last: np.ndarray, size: int, targets: np.ndarray, num_codes: int):
        self.size, self.num_codes = size, num_codes
        self._keys, numbers = np.unique(shorter * size + last, return_inverse=True)
        self._entries, counts = np.unique(numbers.reshape(-1) * num_codes + targets, return_counts=True)
        self._counts = counts.astype(np.float32)
        self._starts = np.searchsorted(self._entries, np.arange(len(self._keys) + 1) * num_codes)
        # A zero at the end is for the number -1.
        self._totals = np.append(np.add.reduceat(self._counts, self._starts[:-1]), 0).astype(np.float32)
        self._kinds = np.append(np.diff(self._starts), 0)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def num_entries(self) -> int:
        """Pairs of a value and a code that came."""
        return len(self._entries)

    @property
    def shorter(self) -> np.ndarray:
        """The number of the shorter context's value, for every value."""
        return self._keys // self.size

    def find(self, shorter: np.ndarray, last: np.ndarray) -> np.ndarray:
        """(n,) numbers of values, see the arguments of the class."""
        keys = shorter * self.size + last
        places = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        return np.where((shorter >= 0) & (self._keys[places] == keys), places, -1)

    def totals(self, numbers: np.ndarray) -> np.ndarray:
        """(n,) how often values came."""
        return self._totals[numbers]

    def of(self, numbers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(n,) how often each value came with the target."""
        entries = numbers * self.num_codes + targets
        places = np.searchsorted(self._entries, entries).clip(max=len(self._entries) - 1)
        return np.where((numbers >= 0) & (self._entries[places] == entries), self._counts[places], 0)

    def leftover(self, numbers: np.ndarray, strength: float, discount: float) -> np.ndarray:
        """(n,) the share of the shorter context in the estimate."""
        return (strength + discount * self._kinds[numbers]) / (self._totals[numbers] + strength)

    def entries(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All codes that came with some values: places in `numbers`, codes, counts; each (e,)."""
        lengths = self._kinds[numbers]
        starts = self._starts[numbers] - lengths.cumsum() + lengths
        entries = np.arange(lengths.sum()) + starts.repeat(lengths)
        places = np.arange(len(numbers)).repeat(lengths)
        return places, self._entries[entries] % self.num_codes, self._counts[entries]


@dataclass(eq=False)
class Table:
    """One context.

    Attributes:
        counts: of its values.
        strength: a, above 0.
        discount: d, in [0, 1).
        distributions: (values, K) of a small table, (0, K) of a large one.
    """

    counts: Counts
    strength: float
    discount: float
    distributions: torch.Tensor

    def smoothed(self, numbers: np.ndarray, fallback: torch.Tensor) -> torch.Tensor:
        """(n, K) distributions after the values, from those after the shorter context's values (n, K)."""
        if len(self.distributions):
            kept = self.distributions[torch.from_numpy(numbers)]
            return torch.where(torch.from_numpy(numbers >= 0)[:, None], kept, fallback)
        return smooth(self.counts, self.strength, self.discount, numbers, fallback)


def smooth(
    counts: Counts, strength: float, discount: float, numbers: np.ndarray, fallback: torch.Tensor
) -> torch.Tensor:
    """(n, K) estimates after the values, from those after the shorter context's values (n, K)."""
    leftover = torch.from_numpy(counts.leftover(numbers, strength, discount))
    result = fallback * leftover.to(fallback.dtype)[:, None]
    places, codes, found = counts.entries(numbers)
    shares = (found - discount) / (counts.totals(numbers)[places] + strength)
    cells = torch.from_numpy(places * counts.num_codes + codes)
    result.view(-1).index_add_(0, cells, torch.from_numpy(shares).to(result.dtype))
    return result


class Values:
    """The values of contexts in some documents, by number.

    Args:
        slots: by name.
        documents: (B, N + 2), see `code_contexts.document_table`.
    """

    def __init__(self, slots: Mapping[str, Slot], documents: np.ndarray):
        self._slots, self._documents = slots, documents
        self._length = len(documents) * len(next(iter(slots.values())).columns)
        self.numbers: dict[Context, np.ndarray] = {}  # (B * P,)

    def parts(self, context: Context) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of the shorter context's values, which must be known, and values of the last slot; both (B * P,)."""
        if not context:
            return np.zeros(self._length, np.int64), np.zeros(self._length, np.int64)
        return self.numbers[context[:-1]], self._slots[context[-1]].read(self._documents).reshape(-1).astype(np.int64)

    def number(self, context: Context, counts: Counts) -> np.ndarray:
        """Numbers of the context's values, (B * P,)."""
        self.numbers[context] = counts.find(*self.parts(context))
        return self.numbers[context]


class CountTables:
    """What many contexts say of one level's codes.

    Args:
        contexts: of the level.
        slots: by name.
        wanted: contexts; those they fall back on come by themselves.
        train: documents to count.
        validation: other documents, to choose strengths and discounts on.

    Attributes:
        tables: by context, shorter ones first.
    """

    def __init__(
        self,
        contexts: LevelContexts,
        slots: Mapping[str, Slot],
        wanted: Iterable[Context],
        train: np.ndarray,
        validation: np.ndarray,
    ):
        self.slots, self.num_codes = slots, contexts.num_codes
        self.tables: dict[Context, Table] = {}
        counted, held_out = Values(slots, train), Values(slots, validation)
        targets, held_out_targets = (contexts.targets(documents).reshape(-1) for documents in (train, validation))
        said: dict[Context, np.ndarray] = {}  # (n,) probabilities of the held-out codes
        for context in dict.fromkeys(longest[:length] for longest in wanted for length in range(len(longest) + 1)):
            size = slots[context[-1]].size if context else 1
            counts = Counts(*counted.parts(context), size, targets, self.num_codes)
            counted.number(context, counts)
            fallback = said[context[:-1]] if context else np.full(held_out_targets.shape, 1 / self.num_codes)
            found = choose(counts, held_out.number(context, counts), held_out_targets, fallback)
            strength, discount, said[context] = found
            self.tables[context] = self._table(context, counts, strength, discount)

    @property
    def num_entries(self) -> int:
        """Pairs of a context's value and a code that came, in all tables."""
        return sum(table.counts.num_entries for table in self.tables.values())

    def distributions(self, documents: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """What every context says of every code.

        Returns:
            Probabilities (B * P, contexts, K), and how often each context's value came (B * P, contexts).
        """
        values = Values(self.slots, documents)
        said: dict[Context, torch.Tensor] = {}
        totals = []
        for context, table in self.tables.items():
            numbers = values.number(context, table.counts)
            said[context] = table.smoothed(numbers, said[context[:-1]] if context else self._uniform(len(numbers)))
            totals.append(table.counts.totals(numbers))
        return torch.stack(list(said.values()), 1), torch.from_numpy(np.stack(totals, 1))

    def _table(self, context: Context, counts: Counts, strength: float, discount: float) -> Table:
        kept = torch.empty(0, self.num_codes)
        if len(counts) * self.num_codes <= _KEPT:  # then the shorter context's are kept too: it has fewer values
            fallback = self.tables[context[:-1]].distributions[counts.shorter] if context else self._uniform(1)
            kept = smooth(counts, strength, discount, np.arange(len(counts)), fallback)
        return Table(counts, strength, discount, kept)

    def _uniform(self, rows: int) -> torch.Tensor:
        return torch.full((rows, self.num_codes), 1 / self.num_codes)


def choose(
    counts: Counts, numbers: np.ndarray, targets: np.ndarray, fallback: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """Strength and discount that give codes the fewest bits.

    Args:
        counts: of the context.
        numbers: (n,) of its values.
        targets: (n,) the codes that came.
        fallback: (n,) their probabilities by the shorter context.

    Returns:
        Strength, discount, and the probabilities (n,) that they give.
    """
    found, totals = counts.of(numbers, targets).astype(np.float64), counts.totals(numbers)

    def said(strength: float, discount: float) -> np.ndarray:
        own = np.maximum(found - discount, 0) / (totals + strength)
        return own + counts.leftover(numbers, strength, discount) * fallback

    best = max(product(STRENGTHS, DISCOUNTS), key=lambda pair: float(np.log(said(*pair)).sum()))
    return *best, said(*best)
