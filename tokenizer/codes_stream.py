"""Codes read from first to last where they are, on this machine or on the Hub, without a copy of the whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow
import pyarrow.parquet
import torch

from ..hub.client_errors import Request, client_errors
from ..hub.errors import InputError, first_line
from .codes_location import CodesLocation
from .codes_manifest import CodesManifest, DamagedShard
from .codes_table import CodesTable
from .interface import ImageCodes

_ROWS_AT_ONCE = 1024
"""Rows that are read together when they are wanted one by one."""


@dataclass(frozen=True)
class CodesRow:
    """One row.

    Attributes:
        key: the source's name of the picture.
        view: 0 for the picture as it is.
        captions: at least one.
        codes: one int64 (h_l, w_l) per level, coarse to fine.
    """

    key: str
    view: int
    captions: list[str]
    codes: tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class CodesBatch:
    """B rows.

    Attributes:
        keys: the source's names of the pictures.
        views: of every row, 0 for the picture as it is.
        captions: of every row, at least one.
        codes: one int64 (B, h_l, w_l) per level, coarse to fine.
    """

    keys: list[str]
    views: list[int]
    captions: list[list[str]]
    codes: ImageCodes


@dataclass(frozen=True)
class CodesStream:
    """Codes and captions of one split, in order. Every pass starts anew; `load_codes` has compared fingerprints.

    Attributes:
        location: where they are.
        split: the split's name.
    """

    location: CodesLocation
    split: str

    def __len__(self) -> int:
        return self.location.split(self.split).rows

    @property
    def manifest(self) -> CodesManifest:
        """How the codes were made."""
        return self.location.manifest

    def __iter__(self) -> Iterator[CodesRow]:
        step = 1 if self._grids is None else _ROWS_AT_ONCE  # rows with grids of their own make no batch
        for batch in self.batches(step):
            for row, words in enumerate(zip(batch.keys, batch.views, batch.captions, strict=True)):
                yield CodesRow(*words, tuple(level[row] for level in batch.codes))

    def batches(self, batch_size: int) -> Iterator[CodesBatch]:
        """All rows, `batch_size` at a time; the last batch may be smaller.

        Raises:
            InputError: `batch_size` is below 1; rows of one batch have different grids; a shard is missing, damaged or
                another tokenizer's; at the end, if there were more or fewer rows than the manifest says.
        """
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        for table in _in_batches(self._tables(batch_size), batch_size):
            codes = CodesTable(table, len(self.manifest.codebook_sizes)).codes(range(table.num_rows), self._grids)
            captions = [as_captions(caption) for caption in table["caption"].to_pylist()]
            yield CodesBatch(table["key"].to_pylist(), table["view"].to_pylist(), captions, codes)

    @property
    def _grids(self) -> list[tuple[int, int]] | None:
        grids = self.manifest.grids
        return None if grids is None else [(height, width) for height, width in grids]

    def _tables(self, num_rows: int) -> Iterator[pyarrow.Table]:
        """The columns that make a `CodesRow`, up to `num_rows` rows at a time."""
        location, rows = self.location, 0
        for index in range(location.split(self.split).num_shards):
            request = Request(location.name, "dataset", location.revision)
            with (
                shard_errors(location, self.split, index),
                client_errors(request),
                contextlib.closing(location.open_shard(self.split, index).file) as file,
            ):
                parquet = pyarrow.parquet.ParquetFile(file)
                for batch in parquet.iter_batches(num_rows, columns=self._columns(parquet)):
                    rows += batch.num_rows
                    yield pyarrow.Table.from_batches([batch])
        location.check_rows(self.split, rows)

    def _columns(self, parquet: pyarrow.parquet.ParquetFile) -> list[str]:
        levels = range(len(self.manifest.codebook_sizes))
        wanted = {"key", "view", "caption", *(f"{kind}_{level}" for kind in ("codes", "grid") for level in levels)}
        return [name for name in parquet.schema_arrow.names if name in wanted]


@contextlib.contextmanager
def shard_errors(location: CodesLocation, split: str, index: int) -> Iterator[None]:
    """Names the shard whose rows cannot be read; a footer may be whole where a page is not.

    Raises:
        DamagedShard: something inside the block could not be read.
    """
    try:
        yield
    except (OSError, pyarrow.ArrowException) as error:
        shard = location.split(split).shard_paths(location.folder, split)[index]
        name = shard.relative_to(location.folder).as_posix()
        raise DamagedShard(f"{name} of {location.name} is damaged: {first_line(error)}") from error


def as_captions(caption: str | list[str]) -> list[str]:
    """A stored caption, text or a list of texts, as a list that is not empty.

    Example:
        >>> as_captions("red"), as_captions(["red", "apple"]), as_captions([])
        (['red'], ['red', 'apple'], [''])
    """
    return [caption] if isinstance(caption, str) else list(caption) or [""]


def _in_batches(tables: Iterator[pyarrow.Table], batch_size: int) -> Iterator[pyarrow.Table]:
    """Tables of at most `batch_size` rows -> tables of that many, but for the last."""
    rest: pyarrow.Table | None = None
    for table in tables:
        joined = table if rest is None else pyarrow.concat_tables([rest, table])
        while joined.num_rows >= batch_size:
            yield joined.slice(0, batch_size)
            joined = joined.slice(batch_size)
        rest = joined
    if rest is not None and rest.num_rows:
        yield rest
