"""Chances that were counted beforehand: one table for every place of a picture, whatever came before.

No network has to agree with another, so every computer reads such streams, and fast; they are longer than a prior's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..hub.errors import InputError, first_line
from ..hub.files import atomic_write_bytes
from .code_documents import CodeRows
from .code_frequencies import FrequencyTables, precision
from .order import Grids, document_order

STATIC_CHANCES_FILE = "code_frequencies.safetensors"

_LARGEST_TABLE = 1 << 20
"""Frequencies of a level; a level with more places times codes has one row for all its places."""

_ROWS_AT_ONCE = 4096

_PRIOR_COUNT = 16.0
"""So many codes drawn from the level's own histogram count as seen at every place, besides those that were."""


@dataclass(frozen=True, eq=False)
class StaticChances:
    """Tables of the codes of pictures of one size. Made by `count_codes` or `load`.

    Attributes:
        grids: (rows, columns) of every level, coarse to fine.
        order: of the codes in a stream.
        frequencies: one int64 (h_l * w_l, K_l), or (1, K_l) for all places, per level; rows sum to 2**precision(K_l).
    """

    grids: Grids
    order: str
    frequencies: tuple[torch.Tensor, ...]

    @property
    def levels(self) -> list[int]:
        """See `code_chances.CodeChances`."""
        return document_order(self.grids, self.order).levels.tolist()

    def of_codes(self, codes: torch.Tensor) -> Iterator[torch.Tensor]:
        """See `code_chances.CodeChances`."""
        for place in range(codes.shape[1]):
            yield self.at(place).expand(len(codes), 1, -1)

    def reader(self, count: int) -> StaticReader:
        """See `code_chances.CodeChances`."""
        return StaticReader(self, count)

    def at(self, place: int) -> torch.Tensor:
        """(K,) float64 chances at a place of a document."""
        return self._rows[place]

    @cached_property
    def _rows(self) -> list[torch.Tensor]:
        layout = document_order(self.grids, self.order)
        starts = [0]
        for rows, columns in self.grids:
            starts.append(starts[-1] + rows * columns)
        chances = [table.double() / (1 << precision(table.shape[1])) for table in self.frequencies]
        places = zip(layout.levels.tolist(), layout.source.tolist(), strict=True)
        return [chances[level][(source - starts[level]) % len(chances[level])] for level, source in places]

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes `STATIC_CHANCES_FILE` into a folder."""
        tensors = {f"level_{level}": table.to(torch.int32) for level, table in enumerate(self.frequencies)}
        grids = ",".join(f"{rows}x{columns}" for rows, columns in self.grids)
        # One entry: several would be written in another order each time.
        settings = {"layout": f"{self.order} {grids}"}
        atomic_write_bytes(Path(directory) / STATIC_CHANCES_FILE, save(tensors, metadata=settings))

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> StaticChances:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = Path(directory) / STATIC_CHANCES_FILE
        if not path.is_file():
            raise InputError(f"{path} is missing; `pictogram count-codes` makes it from a dataset of codes")
        try:
            with safe_open(path, "pt") as file:
                order, grids = file.metadata()["layout"].split(" ")
                tables = tuple(file.get_tensor(f"level_{level}").long() for level in range(len(file.keys())))
            found = cls(tuple(_grid(words) for words in grids.split(",")), order, tables)
            found._check()
        except (SafetensorError, KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"{path} is damaged: {first_line(error)}") from None
        return found

    def _check(self) -> None:
        if len(self.grids) != len(self.frequencies):
            raise InputError(f"{len(self.grids)} grids, but {len(self.frequencies)} tables")
        for level, ((rows, columns), table) in enumerate(zip(self.grids, self.frequencies, strict=True)):
            total = 1 << precision(table.shape[-1])
            is_whole = table.ndim == 2 and len(table) in (1, rows * columns)
            if not is_whole or int(table.min()) < 1 or not bool((table.sum(1) == total).all()):
                raise InputError(f"the table of level {level} must have rows of frequencies that sum to {total}")
        document_order(self.grids, self.order)


class StaticReader:
    """See `code_chances.CodeReader`.

    Args:
        chances: the tables.
        count: B pictures.
    """

    def __init__(self, chances: StaticChances, count: int):
        self._of, self._count, self._place = chances, count, 0

    def chances(self) -> torch.Tensor:
        """See `CodeReader`."""
        return self._of.at(self._place).expand(self._count, -1)

    def append(self, codes: torch.Tensor) -> None:
        """See `CodeReader`."""
        self._place += 1


def count_rows(rows: CodeRows, order: str, codebook_sizes: Sequence[int] | None = None) -> StaticChances:
    """Tables of all rows of a dataset of codes, whose pictures are of one size.

    Args:
        rows: the codes.
        order: of the codes in a stream.
        codebook_sizes: K of every level, where the tables are for a descendant with more codes.

    Raises:
        InputError: pictures of several sizes, or none.
    """
    total = sum(rows.shard_sizes)
    parts = (rows.codes(range(first, min(first + _ROWS_AT_ONCE, total))) for first in range(0, total, _ROWS_AT_ONCE))
    return count_codes(parts, codebook_sizes or rows.codebook_sizes, rows.shared_grids, order)


def count_codes(
    parts: Iterator[Sequence[torch.Tensor]], codebook_sizes: Sequence[int], grids: Grids, order: str
) -> StaticChances:
    """Tables of a dataset of codes.

    Args:
        parts: codes of many pictures, part by part: one int64 (B, h_l, w_l) per level, coarse to fine.
        codebook_sizes: K of every level.
        grids: (rows, columns) of every level, coarse to fine.
        order: of the codes in a stream.

    Raises:
        InputError: not one picture.
    """
    counts = [
        torch.zeros(rows * columns if rows * columns * size <= _LARGEST_TABLE else 1, size, dtype=torch.float64)
        for (rows, columns), size in zip(grids, codebook_sizes, strict=True)
    ]
    for part in parts:
        for level, count in zip(part, counts, strict=True):
            _add(count, level.flatten(1))
    if not float(counts[0].sum()):
        raise InputError("tables of codes need at least one picture, got none")
    return StaticChances(grids, order, tuple(_frequencies(count) for count in counts))


def _add(counts: torch.Tensor, codes: torch.Tensor) -> None:
    """Counts (B, n) codes at (n, K) places, or at (1, K) for all of them."""
    places = torch.arange(codes.shape[1]) % len(counts)
    flat = (places * counts.shape[1] + codes).flatten()
    counts += torch.bincount(flat, minlength=counts.numel()).view_as(counts)


def _frequencies(counts: torch.Tensor) -> torch.Tensor:
    """(n, K) counts -> (n, K) int64 frequencies; places borrow from their level, codes never seen get their share."""
    level = counts.sum(0) + 0.5
    smoothed = counts + _PRIOR_COUNT * level / level.sum()
    tables = FrequencyTables.of(smoothed / smoothed.sum(1, keepdim=True))
    return tables.starts.diff(dim=1)


def _grid(words: str) -> tuple[int, int]:
    rows, columns = words.split("x")
    return int(rows), int(columns)
