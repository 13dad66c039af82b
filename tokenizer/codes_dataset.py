"""Datasets of codes: rows of integers with captions, guarded by the fingerprint of their tokenizer.

`write_codes` makes a folder of them, `push_codes` puts it on the Hub. Its shards are plain parquet, so ``load_dataset``
reads them too; what `load_codes` adds are the checks and the codes as grids.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Literal, overload

import pyarrow
import pyarrow.parquet
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError
from PIL import Image

from ..hub.errors import InputError, first_line
from .codes_location import CodesLocation, find_codes
from .codes_manifest import CodesManifest
from .codes_splits import rows_by_key
from .codes_stream import CodesStream, as_captions, shard_errors
from .codes_table import CodesTable
from .codes_writer import write_codes
from .descent import check_codes
from .image_processor import ImageTokenizerImageProcessorPil, to_images
from .interface import ImageCodes, TokenizesImages
from .loading import LoadedImageTokenizer, with_processor
from .reconstructions import row_batches

__all__ = ["CodesDataset", "CodesManifest", "CodesStream", "load_codes", "write_codes"]

_DECODED_AT_ONCE = 64


@dataclass(frozen=True)
class CodesDataset:
    """Codes and captions of one split.

    Attributes:
        dataset: the rows as stored.
        manifest: how they were made.
        split: the split's name.
        revision: commit of the Hub's repository that they were loaded from; None for a folder.
    """

    dataset: Dataset
    manifest: CodesManifest
    split: str
    revision: str | None = None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        """For other processes: what is mapped into memory here must not travel."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

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
        return as_captions(self._captions[index]["caption"])

    def captions_of(self, indices: Sequence[int]) -> list[list[str]]:
        """The captions of some rows, at least one each; quicker than one row at a time."""
        return [as_captions(caption) for caption in self._captions[list(indices)]["caption"]]

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """One shard of all rows: they lie in mapped memory, where every row is as near as any other."""
        return (len(self),)

    def codes(self, indices: Iterable[int]) -> ImageCodes:
        """The codes of some rows: one int64 (B, h_l, w_l) per level, coarse to fine.

        Args:
            indices: row numbers in any order; an array is fastest.

        Raises:
            IndexError: there is no such row.
            InputError: the rows have different grids.
        """
        return self._table.codes(indices, self.grids)

    def decode(
        self,
        indices: Iterable[int],
        tokenizer: TokenizesImages | LoadedImageTokenizer,
        num_levels: int | None = None,
        processor: ImageTokenizerImageProcessorPil | None = None,
    ) -> list[Image.Image]:
        """Some rows as pictures, with the padding around them if there was any.

        Args:
            indices: row numbers in any order.
            tokenizer: the one that made the codes, one with another decoder that gives the same codes, or a descendant.
            num_levels: levels to decode from, coarse to fine; all unless told.
            processor: the tokenizer's image processor, part of its fingerprint; by default read from where `tokenizer`
                was loaded from.

        Raises:
            InputError: another tokenizer made the codes, or this one does not decode so many levels.
        """
        loaded = with_processor(tokenizer, processor)
        check_codes(f"split {self.split}", self.manifest, loaded)
        rows = list(indices)
        # Pictures of several sizes make no batch.
        batches = row_batches(len(rows), 1 if self.grids is None else _DECODED_AT_ONCE)
        pictures: list[Image.Image] = []
        for batch in batches:
            codes = self.codes([rows[place] for place in batch])
            on_device = tuple(level.to(loaded.model.device) for level in codes)
            pictures += to_images(loaded.model.decode(on_device, num_levels))
        return pictures

    def split_by_key(self, fractions: Mapping[str, float], seed: int = 0) -> dict[str, CodesDataset]:
        """Deals the rows out to named parts, each by the hash of its key; see `codes_splits.rows_by_key`.

        The parts do not depend on the order of rows, the number of files or the machine, and all views of a picture,
        which have one key, fall into one.

        Args:
            fractions: above 0 and of sum 1, by the part's name; their order counts.
            seed: another one deals anew.

        Raises:
            InputError: fractions that do not add up to 1.
        """
        return {
            name: CodesDataset(self.dataset.select(rows), self.manifest, name, self.revision)
            for name, rows in rows_by_key(self.keys, fractions, seed).items()
        }

    @cached_property
    def _captions(self) -> Dataset:
        return self.dataset.select_columns(["caption"])

    @cached_property
    def _table(self) -> CodesTable:
        return CodesTable.of(self.dataset, len(self.codebook_sizes))


@overload
def load_codes(
    path: str | os.PathLike[str],
    split: str = "train",
    codes_fingerprint: str | None = None,
    tokenizer: TokenizesImages | LoadedImageTokenizer | None = None,
    processor: ImageTokenizerImageProcessorPil | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    streaming: Literal[False] = False,
) -> CodesDataset: ...


@overload
def load_codes(
    path: str | os.PathLike[str],
    split: str = "train",
    codes_fingerprint: str | None = None,
    tokenizer: TokenizesImages | LoadedImageTokenizer | None = None,
    processor: ImageTokenizerImageProcessorPil | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    streaming: Literal[True],
) -> CodesStream: ...


def load_codes(
    path: str | os.PathLike[str],
    split: str = "train",
    codes_fingerprint: str | None = None,
    tokenizer: TokenizesImages | LoadedImageTokenizer | None = None,
    processor: ImageTokenizerImageProcessorPil | None = None,
    *,
    revision: str | None = None,
    token: str | None = None,
    streaming: bool = False,
) -> CodesDataset | CodesStream:
    """Opens a dataset of codes from a finished folder or from the Hub.

    From the Hub come the manifest and, if it passes, the shards of this split alone.

    Args:
        path: the folder `write_codes` made, or "owner/name" of a dataset on the Hub. A folder of that name wins;
            whatever else looks like a path is never asked for on the Hub.
        split: one of its splits.
        codes_fingerprint: refuse codes of any other tokenizer, ancestors included.
        tokenizer: refuse codes that are neither this tokenizer's nor those of one that it was grown from.
        processor: the model's image processor, part of its fingerprint; by default read from where `tokenizer` was
            loaded from.
        revision: branch, tag or commit on the Hub; the main branch unless told.
        token: of an account that may read it; by default that of the login.
        streaming: leave the shards where they are and read them from first to last. Manifest and fingerprint are
            checked now, each shard when its turn comes.

    Raises:
        InputError: manifest, split or shard missing, shard damaged, counts that disagree, or another tokenizer's codes;
            or the Hub does not give it, see `hub.client_errors`.
    """
    location = find_codes(path, revision, token=token)
    if tokenizer is not None:
        check_codes(location.name, location.manifest, with_processor(tokenizer, processor))
    if codes_fingerprint is not None:
        location.check_fingerprint(codes_fingerprint)
    location.split(split)
    if streaming:
        return CodesStream(location, split)
    return CodesDataset(_open_shards(location, split), location.manifest, split, location.revision)


def _open_shards(location: CodesLocation, split: str) -> Dataset:
    shards = location.shards(split)
    files = [glob.escape(str(shard.absolute())) for shard in shards]  # `datasets` reads names as patterns
    try:
        return load_dataset("parquet", data_files={split: files}, split=split)
    except (OSError, pyarrow.ArrowException, DatasetsError) as error:
        for index, shard in enumerate(shards):  # whose fault it is, `datasets` does not say
            with shard_errors(location, split, index):
                pyarrow.parquet.read_table(shard)
        raise InputError(f"{location.name} cannot be read: {first_line(error.__cause__ or error)}") from error
