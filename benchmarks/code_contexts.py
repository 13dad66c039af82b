"""What is known of an image when each of its codes comes: the codes before it in the document, and the caption.

One table holds all documents, one row each, and a slot says in which column a code of one level finds one kind of
context: the code above it, its parent, its position. Whatever predicts codes from slots alone cannot see the future.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from pictogram.lm.order import ImageCodes, document_order, flatten

ABSENT = 0
"""The value of a slot outside the grid, or after the code in the document; codes and captions count from 1."""

_ROWS = 32  # at once: all probabilities of many large codebooks would fill the memory

REACH = 2
"""How many rows and columns away a neighbour in the same level may be."""


def document_table(codes: ImageCodes, order: str, captions: torch.Tensor) -> np.ndarray:
    """Documents as (B, N + 2) int32: `ABSENT`, the N codes in document order from 1, the caption.

    Args:
        codes: one int64 (B, h_l, w_l) per level, coarse to fine.
        order: "level" or "pyramid".
        captions: (B,) class of the caption from 1; `ABSENT` for none, or one that is unknown.
    """
    table = torch.cat([torch.full_like(captions, ABSENT)[:, None], flatten(codes, order) + 1, captions[:, None]], 1)
    return table.to(torch.int32).numpy()


@dataclass(frozen=True, eq=False)
class Slot:
    """One kind of context of all P codes of a level; its values are those of a column of the table plus a shift.

    Attributes:
        alphabet: slots of one alphabet speak of the same things, such as the codes of one level.
        size: values are 0..size - 1.
        columns: (P,) columns of the table.
        shifts: (P,) added to the table's values.
    """

    alphabet: str
    size: int
    columns: np.ndarray
    shifts: np.ndarray

    def read(self, table: np.ndarray) -> np.ndarray:
        """(B, P) values."""
        return table[:, self.columns] + self.shifts


class Predictor(Protocol):
    """What gives every code of one level a probability before it comes."""

    def log_probabilities(self, documents: np.ndarray) -> torch.Tensor:
        """Of all K codes at the P positions of documents (B, N + 2): (B, P, K) in nats."""
        ...


class LevelContexts:
    """The codes of one level and what is known when they come.

    Args:
        grids: (rows, columns) of every level, coarse to fine.
        codebook_sizes: of every level.
        order: "level" or "pyramid".
        level: the level.
        num_captions: distinct captions; 0 keeps the caption out.

    Attributes:
        num_codes: K, size of the level's codebook.
        columns: (P,) columns of the level's codes in the table of documents, in document order.
    """

    def __init__(
        self,
        grids: Sequence[tuple[int, int]],
        codebook_sizes: Sequence[int],
        order: str,
        level: int,
        num_captions: int = 0,
    ):
        self.grids, self.codebook_sizes, self.level, self.num_captions = grids, codebook_sizes, level, num_captions
        layout = document_order(grids, order)
        self._places = [np.zeros(grid, np.int64) for grid in grids]  # in the document
        for place, (at, row, col) in enumerate(zip(layout.levels, layout.rows, layout.cols, strict=True)):
            self._places[int(at)][row, col] = place
        own = (layout.levels == level).numpy()
        self._rows, self._cols = layout.rows.numpy()[own], layout.cols.numpy()[own]
        self.columns = 1 + np.flatnonzero(own)
        self.num_codes = codebook_sizes[level]

    @property
    def num_levels(self) -> int:
        """Levels of an image."""
        return len(self.grids)

    @property
    def num_positions(self) -> int:
        """P, the level's codes in an image."""
        return len(self.columns)

    def targets(self, table: np.ndarray) -> np.ndarray:
        """(B, P) codes of the level from 0, in document order."""
        return table[:, self.columns] - 1

    def position(self) -> Slot:
        """Where the code lies in the grid."""
        return self._constant("position", np.arange(self.num_positions))

    def place(self) -> Slot:
        """Where it lies among the children of its parent."""
        (_, across), (row, col) = self._block(self.level - 1)
        return self._constant("place", row * across + col)

    def caption(self) -> Slot:
        """The caption's class."""
        last = sum(rows * cols for rows, cols in self.grids) + 1
        zeros = np.zeros(self.num_positions, np.int64)
        return Slot("caption", self.num_captions + 1, zeros + last, zeros)

    def code(self, level: int, rows: int | np.ndarray = 0, cols: int | np.ndarray = 0) -> Slot:
        """A code of any level.

        Args:
            level: 0 is the coarsest.
            rows: how far below the code itself, its ancestor in a coarser level, or the first of its descendants in a
                finer one; one number or one each (P,).
            cols: how far right of it.
        """
        height, width = self.grids[level]
        row, col = self._place(level)
        row, col = row + rows, col + cols
        inside = (row >= 0) & (row < height) & (col >= 0) & (col < width)
        columns = 1 + self._places[level][row.clip(0, height - 1), col.clip(0, width - 1)]
        known = inside & (columns < self.columns)
        zeros = np.zeros(self.num_positions, np.int64)
        return Slot(f"level {level}", self.codebook_sizes[level] + 1, np.where(known, columns, ABSENT), zeros)

    def facing(self, level: int, rows: bool, cols: bool) -> Slot:
        """The neighbour of the ancestor that is nearest to the code, across rows, across columns, or diagonally.

        In the middle of the ancestor's block that is the ancestor itself.
        """
        (down, across), (row, col) = self._block(level)
        return self.code(level, rows * np.sign(2 * row + 1 - down), cols * np.sign(2 * col + 1 - across))

    def neighbours(self, count: int) -> list[Slot]:
        """Up to `count` nearest known codes of the level within `REACH`, nearest first, one slot an offset.

        Of those equally near the later in the document come first.
        """
        around = [(r, c) for r in range(-REACH, REACH + 1) for c in range(-REACH, REACH + 1) if r or c]
        slots = [self.code(self.level, *offset) for offset in around]
        columns = np.stack([slot.columns for slot in slots], 1)  # (P, offsets)
        distance = np.array([r * r + c * c for r, c in around])
        rank = np.lexsort((-columns, np.broadcast_to(distance, columns.shape), columns == ABSENT)).argsort(1)
        kept = [
            Slot(slot.alphabet, slot.size, np.where(rank[:, i] < count, slot.columns, ABSENT), slot.shifts)
            for i, slot in enumerate(slots)
        ]
        return known_somewhere([kept[i] for i in distance.argsort(kind="stable")])

    def around_ancestor(self, level: int) -> list[Slot]:
        """The ancestor in a coarser level and its 8 neighbours, as far as known."""
        return known_somewhere([self.code(level, r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)])

    def around_descendants(self, level: int) -> list[Slot]:
        """The codes of a finer level that touch the block below the code, as far as known; none in level order."""
        down, across = self.descendants(level)
        around = [(r, c) for r in range(-1, down + 1) for c in range(-1, across + 1)]
        return known_somewhere([self.code(level, r, c) for r, c in around if r in (-1, down) or c in (-1, across)])

    def descendants(self, level: int) -> tuple[int, int]:
        """Rows and columns of the block below a code in a finer level."""
        (rows, cols), (height, width) = self.grids[level], self.grids[self.level]
        return rows // height, cols // width

    def _constant(self, alphabet: str, values: np.ndarray) -> Slot:
        return Slot(alphabet, int(values.max()) + 1, np.full(self.num_positions, ABSENT), values)

    def _place(self, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of the ancestors in a coarser level, or of the first descendants in a finer one."""
        (height, width), (rows, cols) = self.grids[self.level], self.grids[level]
        return self._rows * rows // height, self._cols * cols // width

    def _block(self, level: int) -> tuple[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
        """Size of the block below one code of a coarser level, and where in it each code lies."""
        (height, width), (rows, cols) = self.grids[self.level], self.grids[level]
        down, across = height // rows, width // cols
        return (down, across), (self._rows % down, self._cols % across)


def known_somewhere(slots: Sequence[Slot]) -> list[Slot]:
    """Those slots that are not absent everywhere."""
    return [slot for slot in slots if (slot.columns != ABSENT).any()]


def bits_per_image(predictor: Predictor, contexts: LevelContexts, documents: np.ndarray) -> np.ndarray:
    """(B,) float64: what the level's codes of every document take."""
    bits = []
    for first in range(0, len(documents), _ROWS):
        rows = documents[first : first + _ROWS]
        targets = torch.from_numpy(contexts.targets(rows)).long()
        nats = predictor.log_probabilities(rows).gather(2, targets[..., None]).squeeze(2)  # (b, P)
        bits.append(-nats.double().sum(1) / math.log(2))
    return torch.cat(bits).numpy()
