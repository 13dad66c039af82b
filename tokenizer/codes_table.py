"""Codes straight from Arrow's memory: any rows of a table at once, in any order, without a loop over rows.

A table of `datasets` is many pieces of a file that is mapped into memory. Reading goes piece by piece, with one gather
for all wanted rows of a piece, and copies nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow
import torch
from datasets import Dataset

from ..hub.errors import InputError
from .interface import ImageCodes

Grid = tuple[int, int]
"""Rows and columns of a level."""


@dataclass(frozen=True, eq=False)
class CodesTable:
    """The columns `codes_0`, ... and `grid_0`, ... of a table.

    Attributes:
        table: with these columns and any others.
        num_levels: number of levels L.
        order: (N,) numbers of the table's rows in the order they count here; None for all as they come.
    """

    table: pyarrow.Table
    num_levels: int
    order: np.ndarray | None = None

    @classmethod
    def of(cls, dataset: Dataset, num_levels: int) -> CodesTable:
        """The table below a dataset."""
        # What `select`, `shuffle` and their like give keeps the whole table and a list of rows; `datasets` has no other
        # name for that list, and without it every gather would go through Python.
        chosen = dataset._indices
        order = None if chosen is None else chosen.column(0).to_numpy().astype(np.int64)
        return cls(dataset.data.table, num_levels, order)

    def __len__(self) -> int:
        return self.table.num_rows if self.order is None else len(self.order)

    def codes(self, indices: Iterable[int], grids: Sequence[Grid] | None) -> ImageCodes:
        """The codes of some rows.

        Args:
            indices: row numbers in any order, any of them more than once; negative ones count from the end.
            grids: of the levels; None reads them from the table, where each row has its own.

        Returns:
            One int64 (B, h_l, w_l) per level, coarse to fine.

        Raises:
            IndexError: there is no such row.
            InputError: the rows have different grids, or other numbers of codes than their grids.
        """
        rows = self._rows(indices)
        grids = self._common_grids(rows) if grids is None else grids
        levels = []
        for level, (height, width) in enumerate(grids):
            flat = self._columns[f"codes_{level}"].take(rows, height * width)
            levels.append(torch.from_numpy(flat).view(len(rows), height, width))
        return tuple(levels)

    @cached_property
    def _columns(self) -> dict[str, ListColumn]:
        names = [f"{kind}_{level}" for kind in ("codes", "grid") for level in range(self.num_levels)]
        return {name: ListColumn(name, self.table[name]) for name in names if name in self.table.column_names}

    def _rows(self, indices: Iterable[int]) -> np.ndarray:
        """(B,) int64 numbers of the table's rows."""
        is_array = isinstance(indices, (np.ndarray, torch.Tensor, Sequence))
        rows = np.asarray(indices if is_array else list(indices), dtype=np.int64).reshape(-1)
        rows = np.where(rows < 0, rows + len(self), rows)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows must be 0..{len(self) - 1}, or negative from the end")
        return rows if self.order is None else self.order[rows]

    def _common_grids(self, rows: np.ndarray) -> list[Grid]:
        stored = [self._columns[f"grid_{level}"].take(rows, 2) for level in range(self.num_levels)]
        found = np.unique(np.concatenate(stored, axis=1), axis=0)  # (different ones, 2 L)
        if len(found) != 1:
            grids = [tuple(zip(row[::2], row[1::2], strict=True)) for row in found.tolist()]
            raise InputError(f"one batch needs rows with equal grids, got {grids}")
        return [(height, width) for height, width in found.reshape(-1, 2).tolist()]


class ListColumn:
    """A column of lists of integers.

    Args:
        name: for messages.
        column: the lists.

    Raises:
        InputError: a list or a number is missing (null).
    """

    def __init__(self, name: str, column: pyarrow.ChunkedArray):
        self._name = name
        if column.null_count or any(piece.flatten().null_count for piece in column.chunks):
            raise InputError(f"{name} holds rows or numbers that are null")
        self._pieces = [_Piece.of(piece) for piece in column.chunks if len(piece)]
        self._ends = np.cumsum([len(piece) for piece in self._pieces], dtype=np.int64)
        self._starts = np.concatenate([[0], self._ends])
        self._dtype = self._pieces[0].values.dtype if self._pieces else np.dtype(np.int64)

    def take(self, rows: np.ndarray, length: int) -> np.ndarray:
        """Gathers lists that have one length.

        Args:
            rows: (B,) int64 row numbers.
            length: of every one of these lists.

        Returns:
            (B, length) int64.

        Raises:
            InputError: a list has another length.
        """
        piece_of_row = np.searchsorted(self._ends, rows, side="right")  # (B,)
        order = np.argsort(piece_of_row, kind="stable")
        numbers = piece_of_row[order]
        local = rows[order] - self._starts[numbers]
        firsts = np.flatnonzero(np.diff(numbers, prepend=-1))  # of each piece that is met
        gathered = np.empty((len(rows), length), self._dtype)
        ends = [*firsts[1:].tolist(), len(rows)]
        for number, first, end in zip(numbers[firsts].tolist(), firsts.tolist(), ends, strict=False):
            if not self._pieces[number].take(local[first:end], gathered[first:end]):
                raise InputError(f"{self._name} holds a row without the {length} codes that its grid has")
        lists = np.empty((len(rows), length), np.int64)
        lists[order] = gathered
        return lists


@dataclass(frozen=True, eq=False)
class _Piece:
    """Adjacent lists: flat values, and where each list starts and the last one ends.

    `table` has the values as (N, length) if all lists have one length.
    """

    values: np.ndarray
    offsets: np.ndarray
    table: np.ndarray | None

    @classmethod
    def of(cls, piece: pyarrow.Array) -> _Piece:
        values = piece.flatten().to_numpy()  # a view: there are no nulls
        if isinstance(piece, pyarrow.FixedSizeListArray):
            offsets = np.arange(len(piece) + 1) * piece.type.list_size
        else:
            offsets = piece.offsets.to_numpy().astype(np.int64)
        offsets = offsets - offsets[0]
        lengths = np.diff(offsets)
        is_even = bool((lengths == lengths[0]).all())
        return cls(values, offsets, values.reshape(len(lengths), int(lengths[0])) if is_even else None)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: np.ndarray, into: np.ndarray) -> bool:
        """Copies (b,) lists of the piece into a (b, length) array; False if one of them has another length."""
        length = into.shape[1]
        if self.table is not None:
            if self.table.shape[1] != length:
                return False
            self.table.take(rows, axis=0, out=into, mode="clip")  # the rows are in range; "raise" would buffer `into`
            return True
        starts = self.offsets[rows]
        if (self.offsets[rows + 1] - starts != length).any():
            return False
        self.values.take(starts[:, None] + np.arange(length), out=into, mode="clip")
        return True
