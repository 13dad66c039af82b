"""Pictures for an atlas of symbols: what each decodes to, where it was seen, and what it changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..tokenizer.image_processor import to_8bit
from ..tokenizer.interface import ImageCodes
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.pixel_dataset import PixelDataset
from ..tokenizer.symbol_survey import LevelSurvey

_PICTURES_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class SymbolTiles:
    """Pictures of one symbol, (C, h, w) uint8 each.

    Attributes:
        prototype: the whole-image code decoded alone; of other levels the mean, over the examples, of what the levels
            up to this one decode to around the cell.
        examples: the pictures, or what lies around the cell, nearest first.
        original: the nearest example, decoded from all levels.
        swapped: the same with another code in the symbol's place, one for each code that was asked for.
        changes: root mean squared difference of each from `original`, in steps of 8 bits, over the whole picture.
    """

    prototype: torch.Tensor
    examples: list[torch.Tensor]
    original: torch.Tensor | None
    swapped: list[torch.Tensor]
    changes: list[float]


class AtlasPictures:
    """Draws tiles for the symbols of a tokenizer.

    Args:
        model: in evaluation mode.
        dataset: the pictures that were surveyed.
        surveys: of all levels.
    """

    def __init__(self, model: ImageTokenizer, dataset: PixelDataset, surveys: Sequence[LevelSurvey]):
        self.model, self.dataset, self.surveys = model, dataset, surveys
        self.height, self.width = dataset[0].shape[-2:]
        self.grids = model.config.grids(self.height, self.width)

    def tiles(self, level: int, symbol: int, examples: torch.Tensor, others: Sequence[int]) -> SymbolTiles:
        """Tiles of one symbol.

        Args:
            level: of it.
            symbol: its code.
            examples: (E, 2) row and cell of its uses, nearest first, -1 where there are fewer.
            others: codes that take its place, one after the other.
        """
        uses = [(row, cell) for row, cell in examples.tolist() if row >= 0]
        shown = [self._around(level, cell, self._original(row)) for row, cell in uses]
        original, swapped, changes = self._swaps(level, uses[0], others) if uses else (None, [], [])
        return SymbolTiles(self._prototype(level, symbol, uses), shown, original, swapped, changes)

    def _prototype(self, level: int, symbol: int, uses: Sequence[tuple[int, int]]) -> torch.Tensor:
        if self.grids[level] == (1, 1):
            codes = [torch.zeros(1, *grid, dtype=torch.int64) for grid in self.grids]
            codes[0][:] = symbol
            return self._decode(codes, level + 1)[0].byte()
        if not uses:
            return torch.full_like(self._around(level, 0, self._original(0)), 128)
        decoded = self._decode(self._codes([row for row, _ in uses]), level + 1)
        parts = [self._around(level, cell, picture) for (_, cell), picture in zip(uses, decoded, strict=True)]
        return torch.stack(parts).mean(0).round().byte()

    def _swaps(
        self, level: int, use: tuple[int, int], others: Sequence[int]
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[float]]:
        row, cell = use
        codes = [grid.repeat(1 + len(others), 1, 1) for grid in self._codes([row])]
        codes[level].flatten(1)[1:, cell] = torch.tensor(others, dtype=torch.int64)
        first, *rest = self._decode(codes, len(codes))
        changes = [float((other - first).square().mean().sqrt()) for other in rest]
        return (
            self._around(level, cell, first).byte(),
            [self._around(level, cell, other).byte() for other in rest],
            changes,
        )

    def _codes(self, rows: Sequence[int]) -> ImageCodes:
        """Codes of some pictures, one (B, h, w) a level."""
        pairs = zip(self.surveys, self.grids, strict=True)
        return tuple(survey.codes[list(rows)].view(len(rows), *grid) for survey, grid in pairs)

    @torch.no_grad()
    def _decode(self, codes: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """(B, C, H, W) whole numbers 0..255."""
        parts = zip(*(level.split(_PICTURES_AT_ONCE) for level in codes), strict=True)
        device = self.model.device
        decoded = [self.model.decode([level.to(device) for level in part], num_levels).cpu() for part in parts]
        return to_8bit(torch.cat(decoded))

    def _original(self, row: int) -> torch.Tensor:
        """(C, H, W) uint8."""
        return to_8bit(self.dataset[row]).byte()

    def _around(self, level: int, cell: int, picture: torch.Tensor) -> torch.Tensor:
        """The part of a (C, H, W) picture that a cell stands in: the cell and half of one on every side, inside it."""
        rows, columns = self.grids[level]
        if (rows, columns) == (1, 1):
            return picture
        height, width = self.height // rows, self.width // columns
        tall, wide = min(2 * height, self.height), min(2 * width, self.width)
        top = min(max(cell // columns * height - height // 2, 0), self.height - tall)
        left = min(max(cell % columns * width - width // 2, 0), self.width - wide)
        return picture[:, top : top + tall, left : left + wide]
