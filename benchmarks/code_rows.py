"""The rows that a baseline of priors learns from, chooses on and is measured on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from code_contexts import ABSENT, LevelContexts, document_table

from pictogram import InputError, load_codes
from pictogram.lm.order import ImageCodes
from pictogram.tokenizer.codes_dataset import CodesDataset

MAX_CAPTIONS = 100
"""More different captions than these are no classes."""

PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Documents:
    """The three parts as `code_contexts.document_table` makes them, in one order."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True, eq=False)
class CodeRows:
    """Codes and first captions of three parts of a dataset.

    Attributes:
        grids: (rows, columns) of every level, coarse to fine.
        codebook_sizes: of every level.
        codes_fingerprint: of the tokenizer.
        codes: of each part, one int64 (B, h_l, w_l) per level.
        captions: of each part, one per row.
    """

    grids: tuple[tuple[int, int], ...]
    codebook_sizes: tuple[int, ...]
    codes_fingerprint: str
    codes: dict[str, ImageCodes]
    captions: dict[str, list[str]]

    @property
    def num_rows(self) -> dict[str, int]:
        """Rows of each part."""
        return {part: len(captions) for part, captions in self.captions.items()}

    @property
    def classes(self) -> list[str]:
        """The different captions of the training rows."""
        return sorted(set(self.captions["train"]))

    def documents(self, order: str) -> Documents:
        """All parts in one order."""
        numbers = {caption: number for number, caption in enumerate(self.classes, ABSENT + 1)}
        captions = {
            part: torch.tensor([numbers.get(caption, ABSENT) for caption in self.captions[part]]) for part in PARTS
        }
        return Documents(*(document_table(self.codes[part], order, captions[part]) for part in PARTS))

    def contexts(self, order: str, condition: str) -> list[LevelContexts]:
        """Of every level.

        Args:
            order: "level" or "pyramid".
            condition: "caption" if the caption is known, or "none".

        Raises:
            InputError: the captions are to be known and are no classes.
        """
        num_captions = len(self.classes) if condition == "caption" else 0
        if num_captions > MAX_CAPTIONS:
            raise InputError(f"baselines know at most {MAX_CAPTIONS} different captions, got {num_captions}")
        levels = range(len(self.grids))
        return [LevelContexts(self.grids, self.codebook_sizes, order, level, num_captions) for level in levels]


def load_rows(path: str, train_split: str, test_split: str, validation: int, max_rows: int = 0) -> CodeRows:
    """Opens a dataset of codes.

    Args:
        path: folder or name of the dataset.
        train_split: split to learn from and, on other rows, to choose on.
        test_split: split to measure.
        validation: about how many rows of the training split to choose on; the hash of a row's key says which.
        max_rows: of each part; 0 for all.

    Raises:
        InputError: both splits are one, no rows to learn from or choose on are left, pictures kept their own sizes, or
            see `pictogram.load_codes`.
    """
    if train_split == test_split:
        raise InputError(f"what is learned from split {train_split} must be measured on another")
    train, test = load_codes(path, train_split), load_codes(path, test_split)
    share = validation / len(train)
    if not 0 < share < 1:
        raise InputError(f"expected 1..{len(train) - 1} validation rows of {len(train)}, got {validation}")
    dealt = train.split_by_key({"train": 1 - share, "validation": share})
    parts = {part: rows for part, rows in zip(PARTS, (*dealt.values(), test), strict=True)}
    if not all(map(len, parts.values())):
        empty = " and no ".join(part for part in PARTS if not len(parts[part]))
        raise InputError(f"the hashes of the keys leave no {empty} rows, with {validation} for validation")
    taken = {part: range(min(len(rows), max_rows or len(rows))) for part, rows in parts.items()}
    return CodeRows(
        test.shared_grids,
        test.codebook_sizes,
        test.manifest.codes_fingerprint,
        {part: rows.codes(taken[part]) for part, rows in parts.items()},
        {part: _captions(rows, taken[part]) for part, rows in parts.items()},
    )


def _captions(rows: CodesDataset, taken: range) -> list[str]:
    return [rows.captions(row)[0] for row in taken]
