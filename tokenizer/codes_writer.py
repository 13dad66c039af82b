"""Pictures -> a folder of codes that any `datasets` user opens and that may be killed at any moment while it is made.

The unit of work is a fixed range of source rows, which becomes one parquet shard, renamed into place when complete and
skipped when present. So a killed run continues where it was, and ends with the same bytes as one that never stopped.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import torch
from datasets import ClassLabel, Features, LargeList, List, Value
from datasets.features.features import require_decoding

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes
from .codes_manifest import (
    MANIFEST_NAME,
    CodesManifest,
    DamagedShard,
    ShardFooter,
    SplitManifest,
    library_versions,
    read_footer,
    shard_path,
    with_footer,
)
from .fingerprints import codes_fingerprint, decoder_fingerprint, preprocessing
from .image_processor import ImageTokenizerImageProcessorPil
from .images import ImageSource, Progress
from .interface import TokenizesImages

ROWS_PER_SHARD = 4096

_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")  # what `datasets` accepts


def write_codes(
    source: ImageSource,
    tokenizer: TokenizesImages,
    processor: ImageTokenizerImageProcessorPil,
    output_dir: str | Path,
    split: str = "train",
    batch_size: int = 64,
    rows_per_shard: int = ROWS_PER_SHARD,
    tokenizer_id: str | None = None,
    progress: Progress | None = None,
) -> CodesManifest:
    """Encodes every picture of a source, or what an earlier run left of it.

    Rows hold `key`, `view` (0: as it is), `codes_0` ... `codes_{L-1}` (flat, raster order), with `do_resize=False` also
    `grid_0` ... (rows, columns), the picture's own `height` and `width`, `caption` (text or list of texts as in the
    source), and the source's other columns; one whose name is taken is carried as "source_<name>". Pictures that cannot
    be read, or whose sides the strides do not divide, are left out and listed in the manifest.

    Args:
        source: the pictures.
        tokenizer: on any device; codes are made in its dtype.
        processor: the tokenizer's image processor.
        output_dir: the folder, new or from an earlier run with the same tokenizer; other splits in it stay.
        split: name of the split to write.
        batch_size: pictures encoded at once.
        rows_per_shard: source rows behind each parquet file.
        tokenizer_id: name or path for the manifest; where the tokenizer was loaded from, unless told.
        progress: called with the number of source rows done since the last call.

    Returns:
        The folder's manifest, which is on disk by then.

    Raises:
        InputError: `output_dir` holds other codes (before any work), or no picture could be encoded.
    """
    if batch_size < 1 or rows_per_shard < 1:
        raise InputError(f"batch_size and rows_per_shard must be at least 1, got {batch_size} and {rows_per_shard}")
    if not _SPLIT_NAME.fullmatch(split):
        raise InputError(f"a split's name is letters, digits and underscores, with dots between, got {split!r}")
    folder = Path(output_dir)
    manifest = _new_manifest(tokenizer, processor, tokenizer_id)
    plan = _plan(source, manifest, rows_per_shard)
    num_shards = -(-len(source) // rows_per_shard)
    splits = _splits_already_there(folder, manifest)
    footers = _check_shards(folder, split, num_shards, plan)

    encoder = _Encoder(source, tokenizer, processor)
    for index in range(num_shards):
        start, stop = index * rows_per_shard, min((index + 1) * rows_per_shard, len(source))
        if index not in footers:
            path = shard_path(folder, split, index, num_shards)
            footers[index] = _write_shard(path, encoder, range(start, stop), plan, batch_size, progress)
        elif progress is not None:
            progress(stop - start)
    splits[split] = _summarise(source, [footers[index] for index in range(num_shards)], rows_per_shard)
    manifest = replace(manifest, splits=splits)
    manifest.save(folder)
    return manifest


def _new_manifest(
    tokenizer: TokenizesImages, processor: ImageTokenizerImageProcessorPil, tokenizer_id: str | None
) -> CodesManifest:
    config = tokenizer.config
    grids = None
    if processor.do_resize:
        grids = [list(grid) for grid in config.grids(processor.size["height"], processor.size["width"])]
    return CodesManifest(
        tokenizer_id=tokenizer_id or config.name_or_path or None,
        codes_fingerprint=codes_fingerprint(tokenizer, processor),
        decoder_fingerprint=decoder_fingerprint(tokenizer),
        preprocessing=json.loads(json.dumps(preprocessing(processor))),
        strides=list(config.strides),
        codebook_sizes=list(config.codebook_sizes),
        grids=grids,
        encoding_dtype=str(tokenizer.dtype).removeprefix("torch."),
        versions=library_versions(),
    )


def _plan(source: ImageSource, manifest: CodesManifest, rows_per_shard: int) -> dict[str, Any]:
    """All that decides a shard's rows; two runs with equal plans may share the work."""
    return {
        "preprocessing": manifest.preprocessing,
        "codes_fingerprint": manifest.codes_fingerprint,
        "encoding_dtype": manifest.encoding_dtype,
        "input_rows": len(source),
        "rows_per_shard": rows_per_shard,
        "caption_column": source.caption_column,
        "keys_sha256": hashlib.sha256("\n".join(source.keys).encode()).hexdigest(),
    }


def _splits_already_there(folder: Path, manifest: CodesManifest) -> dict[str, SplitManifest]:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder for the codes")
    if not (folder / MANIFEST_NAME).exists():
        return {}
    there = CodesManifest.load(folder)
    for name in ("preprocessing", "codes_fingerprint"):  # the fingerprint covers both, but preprocessing can be named
        _check_equal(folder, name, getattr(there, name), getattr(manifest, name))
    return there.splits


def _check_shards(folder: Path, split: str, num_shards: int, plan: dict[str, Any]) -> dict[int, ShardFooter]:
    """Footers of the finished shards by index; raises if any shard in the folder is another tokenizer's or plan's."""
    expected = {shard_path(folder, split, index, num_shards): index for index in range(num_shards)}
    finished = {}
    for path in sorted((folder / "data").glob("*.parquet")):
        same_split = path.name.rsplit("-", 3)[0] == split
        try:
            footer = read_footer(path)
        except DamagedShard:
            if path in expected:  # made again
                continue
            raise
        for name in plan if same_split else ("preprocessing", "codes_fingerprint"):
            _check_equal(path, name, footer.plan.get(name), plan[name])
        if path in expected:
            finished[expected[path]] = footer
    return finished


def _check_equal(place: Path, name: str, there: Any, wanted: Any) -> None:
    if there != wanted:
        raise InputError(
            f"{place} was made with {name} {_short(there)}, this run has {_short(wanted)}; choose another output folder"
        )


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)


def _summarise(source: ImageSource, footers: Sequence[ShardFooter], rows_per_shard: int) -> SplitManifest:
    failures = [failure for footer in footers for failure in footer.failures]
    rows = sum(footer.rows for footer in footers)
    if not rows:
        first = f"{failures[0]['key']} ({failures[0]['reason']})" if failures else "no rows"
        raise InputError(f"none of the {len(source)} pictures of {source.name} could be encoded, the first: {first}")
    return SplitManifest(len(source), rows, rows_per_shard, len(footers), failures)


def _write_shard(
    path: Path,
    encoder: _Encoder,
    rows: range,
    plan: dict[str, Any],
    batch_size: int,
    progress: Progress | None,
) -> ShardFooter:
    records: list[dict[str, Any]] = []
    failures: list[dict[str, str]] = []
    for start in range(rows.start, rows.stop, batch_size):
        stop = min(start + batch_size, rows.stop)
        batch = encoder.encode(range(start, stop))
        records += batch.records
        failures += batch.failures
        if progress is not None:
            progress(stop - start)
    schema = with_footer(encoder.features.arrow_schema, plan, failures)
    buffer = io.BytesIO()
    with pyarrow.parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
        if records:  # a shard without rows must not have an empty row group: `datasets` stumbles over it
            writer.write_table(pyarrow.Table.from_pylist(records, schema=schema))
    atomic_write_bytes(path, buffer.getvalue())
    return ShardFooter(plan, len(records), failures)


@dataclass(frozen=True)
class _Picture:
    """A row on its way: source row number, its own size in pixels, and what the model reads, (3, H, W)."""

    index: int
    height: int
    width: int
    pixel_values: torch.Tensor


@dataclass(frozen=True)
class _Batch:
    records: list[dict[str, Any]]
    failures: list[dict[str, str]]


class _Encoder:
    """Source rows -> records of codes. Holds what stays the same from shard to shard."""

    def __init__(self, source: ImageSource, tokenizer: TokenizesImages, processor: ImageTokenizerImageProcessorPil):
        self.source = source
        self.tokenizer = tokenizer
        self.processor = processor
        self.carried = _carried_columns(source, tokenizer.config.num_levels)
        self.features = self._features()
        self.plain_rows = source.dataset.select_columns(list(self.carried))

    def encode(self, rows: range) -> _Batch:
        """Reads and encodes some rows, one call of the model for each size that occurs."""
        pictures: list[_Picture] = []
        failures: list[dict[str, str]] = []
        for index in rows:
            try:
                pictures.append(self._read(index))
            except InputError as error:
                failures.append({"key": self.source.key(index), "reason": str(error)})
        groups: dict[tuple[int, ...], list[_Picture]] = {}
        for picture in pictures:
            groups.setdefault(tuple(picture.pixel_values.shape), []).append(picture)
        codes = {index: levels for group in groups.values() for index, levels in self._encode_group(group)}
        return _Batch([self._record(picture, codes[picture.index]) for picture in pictures], failures)

    def _read(self, index: int) -> _Picture:
        image = self.source.read(index, self.processor.background_colour)
        pixel_values = self.processor(image, return_tensors="pt")["pixel_values"][0]
        self.tokenizer.config.grids(*pixel_values.shape[1:])  # raises for this row alone
        return _Picture(index, image.height, image.width, pixel_values)

    def _encode_group(self, group: list[_Picture]) -> list[tuple[int, list[np.ndarray]]]:
        pixel_values = torch.stack([picture.pixel_values for picture in group])
        codes = self.tokenizer.encode(pixel_values.to(self.tokenizer.device, self.tokenizer.dtype))
        levels = [level.cpu().numpy() for level in codes]  # each (B, h, w)
        return [(picture.index, [level[place] for level in levels]) for place, picture in enumerate(group)]

    def _record(self, picture: _Picture, levels: list[np.ndarray]) -> dict[str, Any]:
        captions = self.source.captions(picture.index)
        plain = self.plain_rows[picture.index] if self.carried else {}
        return {
            "key": self.source.key(picture.index),
            "view": 0,
            **{f"codes_{level}": grid.reshape(-1) for level, grid in enumerate(levels)},
            **({} if self.processor.do_resize else {f"grid_{level}": grid.shape for level, grid in enumerate(levels)}),
            "height": picture.height,
            "width": picture.width,
            "caption": captions if isinstance(self.features["caption"], List) else captions[0],
            **{new: plain[name] for name, new in self.carried.items()},
        }

    def _features(self) -> Features:
        config, source = self.tokenizer.config, self.source
        caption = source.dataset.features[source.caption_column] if source.caption_column is not None else None
        several = isinstance(caption, (List, LargeList))
        grids = (
            {}
            if self.processor.do_resize
            else {f"grid_{i}": List(Value("uint16"), 2) for i in range(config.num_levels)}
        )
        return Features(
            {
                "key": Value("string"),
                "view": Value("uint16"),
                **{f"codes_{i}": List(Value(code_dtype(size))) for i, size in enumerate(config.codebook_sizes)},
                **({} if self.processor.do_resize else grids),
                "height": Value("int32"),
                "width": Value("int32"),
                "caption": List(Value("string")) if several else Value("string"),
                **{new: source.dataset.features[name] for name, new in self.carried.items()},
            }
        )


def code_dtype(codebook_size: int) -> str:
    """The smallest of two unsigned integer types that holds every code of a codebook."""
    return "uint16" if codebook_size <= 65536 else "uint32"


def _carried_columns(source: ImageSource, num_levels: int) -> dict[str, str]:
    """Source column -> its name beside the codes, for all but pictures and the column that became the caption."""
    taken = {"key", "view", "height", "width", "caption"}
    taken |= {f"{kind}_{level}" for kind in ("codes", "grid") for level in range(num_levels)}
    carried = {}
    for name, feature in source.dataset.features.items():
        became_caption = name == source.caption_column and not isinstance(feature, ClassLabel)
        if name != source.image_column and not became_caption and not require_decoding(feature):
            carried[name] = f"source_{name}" if name in taken else name
    return carried
