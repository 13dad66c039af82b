"""Reading a folder of codes: rows of integers with captions, guarded by the fingerprint of their tokenizer.

`write_codes` makes the folder. Its shards are plain parquet, so ``load_dataset("parquet", data_files=...)`` reads them
too; what `load_codes` adds are the checks and the codes as grids.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, load_dataset

from ..hub.errors import InputError
from .codes_manifest import CodesManifest, SplitManifest, read_footer
from .codes_writer import write_codes
from .fingerprints import codes_fingerprint as fingerprint_codes
from .image_processor import ImageTokenizerImageProcessorPil
from .interface import ImageCodes, TokenizesImages

__all__ = ["CodesDataset", "CodesManifest", "load_codes", "write_codes"]


@dataclass(frozen=True)
class CodesDataset:
    """Codes and captions of one split.

    Attributes:
        dataset: the rows as stored.
        manifest: how they were made.
        split: the split's name.
    """

    dataset: Dataset
    manifest: CodesManifest
    split: str

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def grids(self) -> tuple[tuple[int, int], ...] | None:
        """(rows, columns) of every level, coarse to fine; None when pictures kept their own sizes."""
        grids = self.manifest.grids
        return None if grids is None else tuple((height, width) for height, width in grids)

    @property
    def shared_grids(self) -> tuple[tuple[int, int], ...]:
        """The grids that all rows share.

        Raises:
            InputError: pictures kept their own sizes, or there are none.
        """
        if self.grids is None or not len(self):
            raise InputError("expected codes of pictures of one size, at least one; tokenize with do_resize")
        return self.grids

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of every level, coarse to fine."""
        return tuple(self.manifest.codebook_sizes)

    @cached_property
    def keys(self) -> list[str]:
        """The source's name of every row."""
        return list(self.dataset["key"])

    def captions(self, index: int) -> list[str]:
        """The row's captions, at least one."""
        caption = self._captions[index]["caption"]
        return [caption] if isinstance(caption, str) else list(caption) or [""]

    def codes(self, indices: Iterable[int]) -> ImageCodes:
        """The codes of some rows: one int64 (B, h_l, w_l) per level, coarse to fine.

        Raises:
            InputError: the rows have different grids.
        """
        rows = [int(index) for index in indices]
        table = self._arrow[rows]
        levels = []
        for level, (height, width) in enumerate(self.grids or self._common_grids(rows)):
            flat = table[f"codes_{level}"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            levels.append(torch.from_numpy(flat.astype(np.int64)).view(len(rows), height, width))
        return tuple(levels)

    @cached_property
    def _captions(self) -> Dataset:
        return self.dataset.select_columns(["caption"])

    @cached_property
    def _arrow(self) -> Dataset:
        return self.dataset.with_format("arrow")

    def _common_grids(self, rows: list[int]) -> list[tuple[int, int]]:
        names = [f"grid_{level}" for level in range(len(self.codebook_sizes))]
        stored = self.dataset.select_columns(names)[rows]
        grids = {tuple(tuple(grid) for grid in row) for row in zip(*(stored[name] for name in names), strict=True)}
        if len(grids) != 1:
            raise InputError(f"one batch needs rows with equal grids, got {sorted(grids)}")
        return [(height, width) for height, width in grids.pop()]


def load_codes(
    path: str | Path,
    split: str = "train",
    codes_fingerprint: str | None = None,
    tokenizer: TokenizesImages | None = None,
    processor: ImageTokenizerImageProcessorPil | None = None,
) -> CodesDataset:
    """Opens a finished folder of codes.

    Args:
        path: the folder `write_codes` made.
        split: one of its splits.
        codes_fingerprint: refuse codes of any other tokenizer.
        tokenizer: the same check against a model at hand.
        processor: the model's image processor, part of its fingerprint; by default read from where `tokenizer` was
            loaded from.

    Raises:
        InputError: manifest, split or shard missing, shard damaged, counts that disagree, or another tokenizer's codes.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"{folder} does not exist; expected a folder of codes")
    manifest = CodesManifest.load(folder)
    if tokenizer is not None:
        wanted = fingerprint_codes(tokenizer, processor or _processor_beside(tokenizer))
        _check_fingerprint(folder, manifest.codes_fingerprint, wanted)
    if codes_fingerprint is not None:
        _check_fingerprint(folder, manifest.codes_fingerprint, codes_fingerprint)
    if split not in manifest.splits:
        raise InputError(f"{folder} has no split {split!r}; it has: {', '.join(manifest.splits)}")
    shards = manifest.splits[split].shard_paths(folder, split)
    _check_shards(shards, manifest.splits[split], manifest.codes_fingerprint)
    files = [glob.escape(str(shard.resolve())) for shard in shards]  # `datasets` reads names as patterns
    dataset = load_dataset("parquet", data_files={split: files}, split=split)
    return CodesDataset(dataset, manifest, split)


def _processor_beside(tokenizer: TokenizesImages) -> ImageTokenizerImageProcessorPil:
    if not tokenizer.name_or_path:
        raise InputError("a tokenizer that was not loaded from a folder is checked with its processor: pass processor=")
    return ImageTokenizerImageProcessorPil.from_pretrained(tokenizer.name_or_path)


def _check_shards(shards: list[Path], split: SplitManifest, codes_fingerprint: str) -> None:
    rows = 0
    for shard in shards:
        footer = read_footer(shard)
        _check_fingerprint(shard, footer.plan["codes_fingerprint"], codes_fingerprint)
        rows += footer.rows
    if rows != split.rows:
        raise InputError(f"{shards[0].parent} holds {rows} rows, its manifest says {split.rows}")


def _check_fingerprint(place: Path, there: str, wanted: str) -> None:
    if there != wanted:
        raise InputError(
            f"{place} holds codes of image tokenizer {there[:12]}..., expected {wanted[:12]}...; "
            "make the codes again with this tokenizer"
        )
