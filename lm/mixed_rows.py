"""Rows of two datasets of codes as one, each at its share: what is new, and what must not be forgotten beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from ..tokenizer.interface import ImageCodes
from .code_documents import CodeRows


@dataclass(frozen=True, eq=False)
class MixedRows:
    """Rows of two datasets, see `code_documents.CodeRows`. Made by `mix_rows`.

    Attributes:
        parts: the two datasets.
        counts: rows of each in the mixture; a dataset with fewer is begun again.
    """

    parts: tuple[CodeRows, CodeRows]
    counts: tuple[int, int]

    @property
    def shard_sizes(self) -> Sequence[int]:
        """One shard of all rows."""
        return (sum(self.counts),)

    @property
    def shared_grids(self) -> tuple[tuple[int, int], ...]:
        """See `CodeRows`; both datasets have the same."""
        return self.parts[0].shared_grids

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of every level: those of the dataset that has more."""
        first, second = (part.codebook_sizes for part in self.parts)
        return tuple(map(max, first, second))

    def codes(self, indices: Sequence[int]) -> ImageCodes:
        """See `CodeRows`."""
        places, rows = self._sorted_out(indices)
        found = [part.codes(chosen) if chosen else None for part, chosen in zip(self.parts, rows, strict=True)]
        order = torch.tensor([place for chosen in places for place in chosen], dtype=torch.int64).argsort()
        levels = zip(*filter(None, found), strict=True)
        return tuple(torch.cat(level)[order] for level in levels)

    def captions_of(self, indices: Sequence[int]) -> list[list[str]]:
        """See `CodeRows`."""
        found: dict[int, list[str]] = {}
        for part, places, rows in zip(self.parts, *self._sorted_out(indices), strict=True):
            if rows:
                found |= zip(places, part.captions_of(rows), strict=True)
        return [found[place] for place in range(len(indices))]

    def _sorted_out(self, indices: Sequence[int]) -> tuple[tuple[list[int], list[int]], tuple[list[int], list[int]]]:
        """For each dataset the places in `indices` that are its own, and the rows that they ask for."""
        places, rows = ([], []), ([], [])
        for place, index in enumerate(map(int, indices)):
            which = int(index >= self.counts[0])
            places[which].append(place)
            part = self.parts[which]
            rows[which].append((index - which * self.counts[0]) % sum(part.shard_sizes))
        return places, rows


def mix_rows(rows: CodeRows, others: CodeRows, share: float) -> MixedRows:
    """All rows of both datasets, one of them repeated until the other has its share.

    Args:
        rows: a dataset of codes.
        others: another, of pictures of the same size.
        share: of the others, above 0 and below 1.

    Raises:
        InputError: a share out of range, or pictures of another size.
    """
    if not 0 < share < 1:
        raise InputError(f"the share of other rows must be above 0 and below 1, got {share}")
    if rows.shared_grids != others.shared_grids:
        raise InputError(f"pictures of one size are mixed, got grids {rows.shared_grids} and {others.shared_grids}")
    numbers, ratio = (sum(rows.shard_sizes), sum(others.shard_sizes)), share / (1 - share)
    counts = max(numbers[0], round(numbers[1] / ratio)), max(numbers[1], round(numbers[0] * ratio))
    return MixedRows((rows, others), counts)
