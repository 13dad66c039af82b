"""How the grids of one image are laid out in a document: `level` or `pyramid`.

`level` writes the coarsest grid in raster order, then the next finer one, and so on. `pyramid` writes a code followed
by its children, depth-first, blocks in raster order (the order of HQ-Transformer, You et al. 2022): left neighbours and
parents then lie at nearly constant distances, which one-dimensional rotary positions can address. In both orders a
whole-image code (a 1x1 grid) comes first.

Grids are stored apart from their order, so the order can change without encoding an image again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from operator import index

import torch

from ..hub.errors import InputError

Grids = tuple[tuple[int, int], ...]  # (rows, columns) of every level, coarse to fine
ImageCodes = tuple[torch.Tensor, ...]  # one LongTensor (B, h_l, w_l) per level, coarse to fine

ORDERS = ("level", "pyramid")


@dataclass(frozen=True, eq=False)
class DocumentOrder:
    """Where each of the N codes of an image comes from. All fields are LongTensors of shape (N,), in document order.

    Attributes:
        levels: level of the code.
        rows: its row in the level's grid.
        cols: its column in the level's grid.
        source: its index in the levels' grids, each flattened in raster order, joined coarse to fine.
    """

    levels: torch.Tensor
    rows: torch.Tensor
    cols: torch.Tensor
    source: torch.Tensor

    def __len__(self) -> int:
        return len(self.levels)


def document_order(grids: Sequence[Sequence[int]], order: str) -> DocumentOrder:
    """The layout of an image with these grids.

    Args:
        grids: (rows, columns) per level, coarse to fine. Each grid's sides are whole multiples of the one before;
            equal grids (residual levels) are allowed.
        order: "level" or "pyramid".

    Raises:
        InputError: unknown order, no grids, empty grids, or sides that do not divide.
    """
    if order not in ORDERS:
        raise InputError(f"order is {order!r}, expected one of {', '.join(ORDERS)}")
    return _document_order(checked_grids(grids), order)


def checked_grids(grids: Sequence[Sequence[int]]) -> Grids:
    """Returns `grids` as tuples.

    Raises:
        InputError: see `document_order`.
    """
    checked = tuple((index(rows), index(cols)) for rows, cols in grids)
    if not checked or min(min(grid) for grid in checked) < 1:
        raise InputError(f"grids are {list(checked)}, expected at least one, each of at least 1x1")
    for coarse, fine in pairwise(checked):
        if fine[0] % coarse[0] or fine[1] % coarse[1]:
            raise InputError(
                f"a {fine[0]}x{fine[1]} grid follows a {coarse[0]}x{coarse[1]} grid, but each grid's rows and columns "
                "must be whole multiples of the coarser grid's"
            )
    return checked


def flatten(codes: ImageCodes, order: str) -> torch.Tensor:
    """Grids (B, h_l, w_l) to one LongTensor (B, N) in document order.

    Raises:
        InputError: see `document_order`.
    """
    layout = document_order([level.shape[-2:] for level in codes], order)
    joined = torch.cat([level.flatten(start_dim=1) for level in codes], dim=1)  # (B, N), raster order per level
    return joined[:, layout.source.to(joined.device)]


def unflatten(flat: torch.Tensor, grids: Sequence[Sequence[int]], order: str) -> ImageCodes:
    """The inverse of `flatten`: (B, N) in document order to one (B, h_l, w_l) per level.

    Raises:
        InputError: N is not the number of codes of these grids, or see `document_order`.
    """
    layout = document_order(grids, order)
    if flat.ndim != 2 or flat.shape[1] != len(layout):
        raise InputError(f"codes have shape {tuple(flat.shape)}, expected (images, {len(layout)}) for grids {grids}")
    joined = torch.empty_like(flat)
    joined[:, layout.source.to(flat.device)] = flat
    sizes = [rows * cols for rows, cols in grids]
    return tuple(level.unflatten(1, tuple(grid)) for level, grid in zip(joined.split(sizes, dim=1), grids, strict=True))


@lru_cache(maxsize=64)
def _document_order(grids: Grids, order: str) -> DocumentOrder:
    cells = list(_level_cells(grids) if order == "level" else _pyramid_cells(grids))
    levels, rows, cols = torch.tensor(cells, dtype=torch.long).unbind(dim=1)
    widths = torch.tensor([width for _, width in grids])
    starts = torch.tensor([0, *(height * width for height, width in grids[:-1])]).cumsum(0)
    return DocumentOrder(levels, rows, cols, source=starts[levels] + rows * widths[levels] + cols)


def _level_cells(grids: Grids) -> Iterator[tuple[int, int, int]]:
    """Yields (level, row, column)."""
    for level, (rows, cols) in enumerate(grids):
        yield from ((level, row, col) for row in range(rows) for col in range(cols))


def _pyramid_cells(grids: Grids) -> Iterator[tuple[int, int, int]]:
    """Yields (level, row, column): a whole image is the parent of the first spatial grid like any other cell."""

    def block(level: int, top: int, left: int, height: int, width: int) -> Iterator[tuple[int, int, int]]:
        for row in range(top, top + height):
            for col in range(left, left + width):
                yield level, row, col
                if level + 1 < len(grids):
                    down, across = (fine // coarse for fine, coarse in zip(grids[level + 1], grids[level], strict=True))
                    yield from block(level + 1, row * down, col * across, down, across)

    yield from block(0, 0, 0, *grids[0])
