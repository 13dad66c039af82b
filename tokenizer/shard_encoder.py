"""One input shard -> the table of its codes: decoding in threads, beside encoding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow
import torch
from datasets import ClassLabel, Features, List, Value
from datasets.features.features import require_decoding

from ..hub.errors import InputError
from .decoding import decode_row
from .image_processor import ImageTokenizerImageProcessorPil
from .images import Progress
from .input_shards import CodesSource, InputRow, InputShard, LostRow
from .interface import TokenizesImages
from .ordered_map import ordered_map
from .pixel_table import PixelTable
from .views import ViewSettings, views_of

_BATCHES_AHEAD = 2
"""Batches of pictures that are decoded before they are needed."""


@dataclass(frozen=True)
class EncodedShard:
    """What became of an input shard.

    Attributes:
        table: the rows of codes; None if there are none.
        num_pictures: source rows that were encoded; each has as many rows as there are views.
        failures: `{"key", "reason"}` of each source row that was left out.
    """

    table: pyarrow.Table | None
    num_pictures: int
    failures: list[dict[str, str]]


@dataclass(frozen=True)
class _Picture:
    """A decoded row.

    Attributes:
        row: where it comes from.
        height: its own, pixels.
        width: its own, pixels.
        views: uint8 (C, h, w) each, the picture itself first.
    """

    row: InputRow
    height: int
    width: int
    views: list[torch.Tensor]


@dataclass
class _Columns:
    """The rows of a shard as they come in: codes as one array per row and level, the rest as Python values."""

    codes: list[list[np.ndarray]]
    others: dict[str, list[Any]]
    num_pictures: int = 0
    failures: list[dict[str, str]] = field(default_factory=list)


class ShardEncoder:
    """Makes tables of codes. Holds what stays the same from shard to shard.

    Args:
        source: where the shards come from.
        tokenizer: on any device; codes are made in its dtype.
        processor: the tokenizer's image processor.
        views: the views of every picture.
        batch_size: pictures encoded at once, views counted.
        executor: decodes pictures beside the encoding; None decodes in turn.
        progress: called with the number of source rows done since the last call.
    """

    def __init__(
        self,
        source: CodesSource,
        tokenizer: TokenizesImages,
        processor: ImageTokenizerImageProcessorPil,
        *,
        views: ViewSettings,
        batch_size: int,
        executor: Executor | None = None,
        progress: Progress | None = None,
    ):
        self.tokenizer = tokenizer
        self.processor = processor
        self.views = views
        self.batch_size = batch_size
        self.executor = executor
        self.progress = progress
        self.carried = _carried_columns(source, tokenizer.config.num_levels)
        self.features = _features(source, tokenizer, processor, self.carried)
        self._pixels = PixelTable(processor)

    def encode(self, shard: InputShard) -> EncodedShard:
        """Reads and encodes all rows of a shard; those that cannot be read or encoded become failures."""
        names = [name for name in self.features if not name.startswith("codes_")]
        columns = _Columns([[] for _ in self.tokenizer.config.codebook_sizes], {name: [] for name in names})
        pictures = self._pictures(shard, columns)
        while batch := list(islice(pictures, max(1, self.batch_size // self.views.num_views))):
            self._encode_batch(batch, columns)
        columns.num_pictures = len(columns.others["key"]) // self.views.num_views
        return EncodedShard(self._table(columns), columns.num_pictures, columns.failures)

    def _pictures(self, shard: InputShard, columns: _Columns) -> Iterator[_Picture]:
        """The pictures of a shard in order; failures go to `columns`."""
        ahead = _BATCHES_AHEAD * self.batch_size
        for decoded in ordered_map(self._decode, shard.rows(), self.executor, ahead):
            if isinstance(decoded, LostRow):
                columns.failures.append({"key": decoded.key, "reason": decoded.reason})
            else:
                yield decoded
            if self.progress is not None:
                self.progress(1)

    def _decode(self, row: InputRow | LostRow) -> _Picture | LostRow:
        if isinstance(row, LostRow):
            return row
        try:
            image = decode_row(row.picture, self.processor.background_colour)
            views = [
                self.processor(view, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"][0]
                for view in views_of(image, row.key, self.views)
            ]
            for view in views:
                self.tokenizer.config.grids(*view.shape[1:])  # raises for this row alone
        except InputError as error:
            return LostRow(row.key, str(error))
        return _Picture(row, image.height, image.width, views)

    def _encode_batch(self, pictures: list[_Picture], columns: _Columns) -> None:
        views = [view for picture in pictures for view in picture.views]
        codes = self._codes(views)
        for level, grids in enumerate(codes):
            columns.codes[level] += [grid.reshape(-1) for grid in grids]
            if not self.processor.do_resize:
                columns.others[f"grid_{level}"] += [grid.shape for grid in grids]
        for picture in pictures:
            for view in range(self.views.num_views):
                for name, value in self._plain_values(picture, view).items():
                    columns.others[name].append(value)

    def _codes(self, views: list[torch.Tensor]) -> list[list[np.ndarray]]:
        """For each level, the (h, w) codes of each view; one call of the model for each size that occurs."""
        places: dict[tuple[int, ...], list[int]] = {}
        for place, view in enumerate(views):
            places.setdefault(tuple(view.shape), []).append(place)
        found: list[dict[int, np.ndarray]] = [{} for _ in self.tokenizer.config.codebook_sizes]
        for group in places.values():
            pixel_values = self._pixels.floats(torch.stack([views[place] for place in group]))
            codes = self.tokenizer.encode(pixel_values.to(self.tokenizer.device, self.tokenizer.dtype))
            for by_place, level in zip(found, codes, strict=True):
                by_place.update(zip(group, level.cpu().numpy(), strict=True))
        return [[by_place[place] for place in range(len(views))] for by_place in found]

    def _plain_values(self, picture: _Picture, view: int) -> dict[str, Any]:
        captions = picture.row.captions
        return {
            "key": picture.row.key,
            "view": view,
            "height": picture.height,
            "width": picture.width,
            "caption": captions if isinstance(self.features["caption"], List) else captions[0],
            **{new: picture.row.values[name] for name, new in self.carried.items()},
        }

    def _table(self, columns: _Columns) -> pyarrow.Table | None:
        schema = self.features.arrow_schema
        if not columns.num_pictures:
            return None
        arrays = [
            _list_array(columns.codes[int(name.removeprefix("codes_"))], schema.field(name).type)
            if name.startswith("codes_")
            else pyarrow.array(columns.others[name], schema.field(name).type)
            for name in schema.names
        ]
        return pyarrow.Table.from_arrays(arrays, schema=schema)


def code_dtype(codebook_size: int) -> str:
    """The smallest of two unsigned integer types that holds every code of a codebook."""
    return "uint16" if codebook_size <= 65536 else "uint32"


def _list_array(rows: Iterable[np.ndarray], type_: pyarrow.DataType) -> pyarrow.Array:
    """Flat rows of integers as one Arrow array of lists, without a Python object per code."""
    rows = list(rows)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int32)
    values = np.concatenate(rows).astype(type_.value_type.to_pandas_dtype())
    return pyarrow.ListArray.from_arrays(offsets, pyarrow.array(values), type=type_)


def _carried_columns(source: CodesSource, num_levels: int) -> dict[str, str]:
    """Source column -> its name beside the codes, for all but pictures and the column that became the caption."""
    taken = {"key", "view", "height", "width", "caption"}
    taken |= {f"{kind}_{level}" for kind in ("codes", "grid") for level in range(num_levels)}
    carried = {}
    for name, feature in source.features.items():
        became_caption = name == source.caption_column and not isinstance(feature, ClassLabel)
        if name != source.image_column and not became_caption and not require_decoding(feature):
            carried[name] = name
            while carried[name] in taken or (carried[name] != name and carried[name] in source.features):
                carried[name] = f"source_{carried[name]}"
    return carried


def _features(
    source: CodesSource,
    tokenizer: TokenizesImages,
    processor: ImageTokenizerImageProcessorPil,
    carried: dict[str, str],
) -> Features:
    """Columns of the codes, in the order of the file."""
    sizes = tokenizer.config.codebook_sizes
    grids = {} if processor.do_resize else {f"grid_{level}": List(Value("uint16"), 2) for level in range(len(sizes))}
    return Features(
        {
            "key": Value("string"),
            "view": Value("uint16"),
            **{f"codes_{level}": List(Value(code_dtype(size))) for level, size in enumerate(sizes)},
            **grids,
            "height": Value("int32"),
            "width": Value("int32"),
            "caption": List(Value("string")) if source.has_several_captions else Value("string"),
            **{new: source.features[name] for name, new in carried.items()},
        }
    )
