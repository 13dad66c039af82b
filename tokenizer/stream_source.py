"""A dataset that is read while it is downloaded: nothing but the codes is kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from datasets import Features, Image, IterableDataset

from ..hub.errors import InputError, first_line
from .columns import captions_in, columns_as_they_are, find_caption_column, find_image_column, holds_several
from .input_shards import InputRow, InputShard, LostRow


@dataclass(frozen=True)
class StreamSource:
    """One split of a streamed dataset; each of its shards becomes one file of codes. Made by `stream_source`.

    Attributes:
        name: what the user called it.
        split: of the dataset.
        dataset: its rows, pictures not decoded, without other columns that would be.
        features: types of all columns.
        image_column: with the pictures.
        caption_column: with the captions, or None.
    """

    name: str
    split: str
    dataset: IterableDataset
    features: Features
    image_column: str
    caption_column: str | None

    @property
    def has_several_captions(self) -> bool:
        """Whether a row may have more than one caption."""
        return holds_several(self.features, self.caption_column)

    def input_shards(self, rows_per_shard: int) -> list[InputShard]:
        """One a shard of the dataset; how many rows it has, only reading tells."""
        count = self.dataset.num_shards
        return [InputShard(f"shard {index} of {count}", None, partial(self._rows, index)) for index in range(count)]

    def identity(self) -> dict[str, Any]:
        """Name, split, columns and number of shards."""
        columns = sorted(self.features)
        return {"stream": self.name, "stream_split": self.split, "columns": columns, "shards": self.dataset.num_shards}

    def captions_identity(self) -> dict[str, Any]:
        """Nothing: only reading tells."""
        return {}

    def _rows(self, index: int) -> Iterator[InputRow | LostRow]:
        rows = self.dataset.shard(num_shards=self.dataset.num_shards, index=index)
        number = 0
        try:
            for row in rows:
                values = dict(row)
                captions = captions_in(values, self.caption_column, self.features)
                yield InputRow(f"shard-{index:05d}/row-{number:06d}", values.pop(self.image_column), captions, values)
                number += 1
        except (ValueError, OSError, RuntimeError) as error:  # the network, or a file of the dataset
            raise InputError(
                f"shard {index} of {self.name} broke off after {number} rows: {first_line(error)}; start again to go on"
            ) from error


def stream_source(dataset: IterableDataset, name: str, split: str, caption_column: str | None = None) -> StreamSource:
    """Finds the columns of a streamed dataset.

    Args:
        dataset: one split.
        name: what the user called it.
        split: of the dataset.
        caption_column: as for `load_image_source`.

    Raises:
        InputError: no column with pictures, or none of the name `caption_column`.
    """
    if dataset.features is None:  # some builders tell them by their first row only
        dataset = dataset._resolve_features()
    features = cast(Features, dataset.features)
    image_column = find_image_column(features, name)
    dataset = dataset.cast_column(image_column, Image(decode=False))
    return StreamSource(
        name=name,
        split=split,
        dataset=dataset.select_columns(columns_as_they_are(cast(Features, dataset.features))),
        features=features,
        image_column=image_column,
        caption_column=find_caption_column(features, name, caption_column),
    )
