"""Rows of codes in any order, from shards that stay where they are: a few of them are held in memory at a time."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import pyarrow
import pyarrow.parquet
import torch

from ..hub.client_errors import Request, client_errors
from ..hub.errors import InputError
from .codes_location import CodesLocation
from .codes_manifest import CodesManifest
from .codes_stream import as_captions, shard_errors
from .codes_table import CodesTable
from .interface import ImageCodes


@dataclass(frozen=True, eq=False)
class CodesShards:
    """Codes and captions of one split, in a folder or on the Hub.

    Attributes:
        location: where they are.
        split: the split's name.
        num_held: shards that are kept in memory; reading jumps freely among as many.
    """

    location: CodesLocation
    split: str
    num_held: int = 8

    def __len__(self) -> int:
        return sum(self.shard_sizes)

    @property
    def manifest(self) -> CodesManifest:
        """How the codes were made."""
        return self.location.manifest

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """Rows of every shard; of old folders, whose manifest does not say, every footer is read.

        Raises:
            InputError: they are not as many as the manifest says.
        """
        return self._sizes

    @functools.cached_property
    def _sizes(self) -> tuple[int, ...]:
        split = self.location.split(self.split)
        sizes = split.shard_rows or [self._footer_rows(index) for index in range(split.num_shards)]
        self.location.check_rows(self.split, sum(sizes))
        return tuple(sizes)

    @property
    def shared_grids(self) -> tuple[tuple[int, int], ...]:
        """The grids that all rows share.

        Raises:
            InputError: pictures kept their own sizes, or there are none.
        """
        grids = self.manifest.grids
        if grids is None or not len(self):
            raise InputError("expected codes of pictures of one size, at least one; tokenize with do_resize")
        return tuple((height, width) for height, width in grids)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of every level, coarse to fine."""
        return tuple(self.manifest.codebook_sizes)

    def codes(self, indices: Sequence[int]) -> ImageCodes:
        """The codes of some rows: one int64 (B, h_l, w_l) per level, coarse to fine.

        Raises:
            IndexError: there is no such row.
            InputError: a shard is missing, damaged or another tokenizer's.
        """
        levels = tuple(torch.empty(len(indices), *grid, dtype=torch.int64) for grid in self.shared_grids)
        for shard, places, rows in self._by_shard(indices):
            table = CodesTable(self._table(shard), len(self.codebook_sizes))
            for level, found in zip(levels, table.codes(rows, self.shared_grids), strict=True):
                level[places] = found
        return levels

    def captions_of(self, indices: Sequence[int]) -> list[list[str]]:
        """The captions of some rows, at least one each.

        Raises:
            IndexError: there is no such row.
            InputError: a shard is missing, damaged or another tokenizer's.
        """
        captions: list[list[str]] = [[]] * len(indices)
        for shard, places, rows in self._by_shard(indices):
            words = self._table(shard)["caption"].take(pyarrow.array(rows)).to_pylist()
            for place, caption in zip(places.tolist(), words, strict=True):
                captions[place] = as_captions(caption)
        return captions

    def _by_shard(self, indices: Sequence[int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """For each shard that is met: its number, the places in `indices`, and the rows within the shard."""
        rows, ends = np.asarray(indices, dtype=np.int64), np.array(list(accumulate(self.shard_sizes)))
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"rows must be 0..{len(self) - 1}")
        shards = np.searchsorted(ends, rows, side="right")
        starts = ends - np.array(self.shard_sizes)
        return [
            (int(shard), places, rows[places] - starts[shard])
            for shard in np.unique(shards)
            for places in (np.flatnonzero(shards == shard),)
        ]

    @functools.cached_property
    def _tables(self) -> functools._lru_cache_wrapper[pyarrow.Table]:
        return functools.lru_cache(self.num_held)(self._read)

    def _table(self, shard: int) -> pyarrow.Table:
        return self._tables(shard)

    def _read(self, shard: int) -> pyarrow.Table:
        request = Request(self.location.name, "dataset", self.location.revision)
        with (
            shard_errors(self.location, self.split, shard),
            client_errors(request),
            contextlib.closing(self.location.open_shard(self.split, shard).file) as file,
        ):
            codes = [f"codes_{level}" for level in range(len(self.codebook_sizes))]
            table = pyarrow.parquet.ParquetFile(file).read(columns=["caption", *codes])
        if table.num_rows != self.shard_sizes[shard]:
            said = self.shard_sizes[shard]
            raise InputError(f"shard {shard} of {self.location.name} has {table.num_rows} rows, expected {said}")
        return table

    def _footer_rows(self, shard: int) -> int:
        opened = self.location.open_shard(self.split, shard)
        opened.file.close()
        return opened.footer.rows
