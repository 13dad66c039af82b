"""Training documents in batches: batch t is a pure function of (seed, t), and documents of like length go together."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator
from .row_order import RowOrder

IGNORED = -100
"""Label of padding, which costs nothing."""

_WINDOW = 32
"""Batches that are drawn together and sorted by length, so that hardly any padding is left."""


class DocumentSource(Protocol):
    """Where documents come from."""

    @property
    def shard_sizes(self) -> Sequence[int]:
        """Rows of every shard; rows of one shard are quick to reach together."""
        ...

    def documents(self, rows: Sequence[int], draws: torch.Tensor) -> list[list[int]]:
        """One document per row, as ids from `<bos>` to `<eos>`.

        Args:
            rows: R row numbers.
            draws: (R, 3) uniform numbers that decide all that is drawn.
        """
        ...


@dataclass(frozen=True)
class DocumentBatch:
    """Documents of one step, or some of them.

    Attributes:
        input_ids: (B, T) int64, padded on the right.
        labels: (B, T) int64, the same ids with `IGNORED` for padding. Causal attention never sees padding on the right,
            so no attention mask is needed.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor

    @property
    def num_targets(self) -> int:
        """Tokens that are predicted: all but the first of each document."""
        return int((self.labels[:, 1:] != IGNORED).sum())

    def part(self, rows: slice) -> DocumentBatch:
        """Some of the documents, without the padding that they do not need."""
        labels = self.labels[rows]
        longest = int((labels != IGNORED).sum(1).max())
        return DocumentBatch(self.input_ids[rows, :longest], labels[:, :longest])


class DocumentBatches:
    """The documents of a source, as batches.

    Args:
        source: of documents.
        pad_id: fills rows of a batch.
        batch_size: documents per step, over all processes.
        seed: of the order and of all draws.
        pool_size: see `RowOrder`.
    """

    def __init__(self, source: DocumentSource, *, pad_id: int, batch_size: int, seed: int, pool_size: int = 8):
        self.source, self.pad_id, self.batch_size, self.seed = source, pad_id, batch_size, seed
        self.order = RowOrder(source.shard_sizes, seed, pool_size)

    def batch(self, step: int) -> DocumentBatch:
        """Global batch number `step`."""
        window, place = divmod(step, _WINDOW)
        return collate(self._window(window)[place], self.pad_id)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one instance per run
    def _window(self, window: int) -> list[list[list[int]]]:
        """The documents of `_WINDOW` batches: drawn, sorted by length, cut into batches, and the batches shuffled."""
        count = _WINDOW * self.batch_size
        rows = self.order.rows(window * count, count)
        generator = derived_generator(self.seed, "documents", window)
        draws = torch.rand(count, 3, generator=generator)
        documents = sorted(self.source.documents(rows, draws), key=len)
        order = torch.randperm(_WINDOW, generator=generator).tolist()
        return [documents[place * self.batch_size : (place + 1) * self.batch_size] for place in order]


def collate(documents: Sequence[Sequence[int]], pad_id: int) -> DocumentBatch:
    """Pads documents on the right to the length of the longest.

    Raises:
        InputError: no documents, or an empty one.
    """
    if not documents or not all(documents):
        raise InputError("a batch needs documents of at least one token")
    longest = max(map(len, documents))
    input_ids = torch.full((len(documents), longest), pad_id)
    labels = torch.full((len(documents), longest), IGNORED)
    for row, document in enumerate(documents):
        input_ids[row, : len(document)] = labels[row, : len(document)] = torch.tensor(document)
    return DocumentBatch(input_ids, labels)
