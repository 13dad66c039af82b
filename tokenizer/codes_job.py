"""The making of one split's codes: which shards there are, which are done, and the manifest at the end.

The unit of work is an input shard, which becomes one parquet file, renamed into place when complete and skipped when
present. So a killed run continues where it was and ends with the same bytes as one that never stopped, and any number
of processes may share the work.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes
from .claims import WORK_FOLDER
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
from .images import Progress
from .input_shards import CodesSource, InputShard
from .interface import TokenizesImages
from .shard_encoder import ShardEncoder
from .views import ViewSettings

_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")  # what `datasets` accepts

_NOTED_LATER = ("pictures_sha256", "captions_sha256", "archives_sha256")
"""What shards of earlier versions do not say of their rows."""


@dataclass(frozen=True, eq=False)
class CodesJob:
    """A split to make. Made by `new_job`; `encode_shard` may run in any process, `finish` in whichever is last.

    Attributes:
        folder: of the codes.
        split: name of the split.
        source: the pictures.
        shards: what each file is made of.
        plan: all that decides a shard's rows, in every shard's footer; processes with equal plans may share the work.
        manifest: of the folder, without this split's figures.
        tokenizer: makes the codes.
        processor: makes its pixels.
        views: views of every picture.
        batch_size: pictures encoded at once.
    """

    folder: Path
    split: str
    source: CodesSource
    shards: list[InputShard]
    plan: dict[str, Any]
    manifest: CodesManifest
    tokenizer: TokenizesImages
    processor: ImageTokenizerImageProcessorPil
    views: ViewSettings
    batch_size: int
    _footers: dict[int, ShardFooter] = field(default_factory=dict)

    @property
    def num_input_rows(self) -> int | None:
        """Source rows of all shards; None if only reading tells."""
        rows = [shard.num_rows for shard in self.shards]
        return None if any(count is None for count in rows) else sum(count or 0 for count in rows)

    def path(self, index: int) -> Path:
        """The file of a shard."""
        return shard_path(self.folder, self.split, index, len(self.shards))

    def is_done(self, index: int) -> bool:
        """Whether a shard is there, whole.

        Raises:
            InputError: it was made by another plan.
        """
        if index not in self._footers:
            if not self.path(index).exists():
                return False
            try:
                footer = read_footer(self.path(index))
            except DamagedShard:  # made again
                return False
            _check_plan(self, self.path(index), footer)
            self._footers[index] = footer
        return True

    def num_rows(self, index: int) -> int:
        """Source rows of a shard: known beforehand, or because it is done; else 0."""
        known = self.shards[index].num_rows
        if known is None and index in self._footers:
            known = self._footers[index].input_rows
        return known or 0

    def encode_shard(self, index: int, executor: Executor | None = None, progress: Progress | None = None) -> None:
        """Makes a shard, whole or not at all.

        Args:
            index: which.
            executor: decodes pictures beside the encoding.
            progress: called with the number of source rows done since the last call.
        """
        encoder = ShardEncoder(
            self.source,
            self.tokenizer,
            self.processor,
            views=self.views,
            batch_size=self.batch_size,
            executor=executor,
            progress=progress,
        )
        encoded = encoder.encode(self.shards[index])
        footer = ShardFooter(
            plan=self.plan,
            rows=0 if encoded.table is None else len(encoded.table),
            failures=encoded.failures,
            input_rows=encoded.num_pictures + len(encoded.failures),
        )
        schema = with_footer(encoder.features.arrow_schema, footer)
        buffer = io.BytesIO()
        with pyarrow.parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
            if encoded.table is not None:  # an empty row group would make `datasets` stumble
                writer.write_table(encoded.table.replace_schema_metadata(schema.metadata))
        atomic_write_bytes(self.path(index), buffer.getvalue())

    def finish(self) -> CodesManifest:
        """Writes the manifest, when all shards are done.

        Raises:
            InputError: a shard is missing, or no picture could be encoded.
        """
        missing = [self.path(index).name for index in range(len(self.shards)) if not self.is_done(index)]
        if missing:
            raise InputError(f"{self.folder} lacks {len(missing)} shards, {missing[0]} first")
        summary = self._summary()  # takes minutes, in which others may add their splits
        with _one_at_a_time(self.folder):
            splits = _splits_already_there(self.folder, self.manifest)
            manifest = replace(self.manifest, splits={**splits, self.split: summary})
            manifest.save(self.folder)
        return manifest

    def _summary(self) -> SplitManifest:
        footers = [self._footers[index] for index in range(len(self.shards))]
        failures = [failure for footer in footers for failure in footer.failures]
        rows, input_rows = sum(footer.rows for footer in footers), sum(footer.input_rows for footer in footers)
        if not rows:
            first = f"{failures[0]['key']} ({failures[0]['reason']})" if failures else "no rows"
            raise InputError(
                f"none of the {input_rows} pictures of {self.source.name} could be encoded, the first: {first}"
            )
        return SplitManifest(
            input_rows=input_rows,
            rows=rows,
            rows_per_shard=self.plan["rows_per_shard"],
            num_shards=len(footers),
            failures=failures,
            num_views=self.views.num_views,
            sha256=[hashlib.sha256(self.path(index).read_bytes()).hexdigest() for index in range(len(footers))],
            shard_rows=[footer.rows for footer in footers],
        )


def new_job(
    source: CodesSource,
    tokenizer: TokenizesImages,
    processor: ImageTokenizerImageProcessorPil,
    folder: Path,
    *,
    split: str,
    rows_per_shard: int,
    batch_size: int,
    views: ViewSettings,
    tokenizer_id: str | None = None,
    tokenizer_revision: str | None = None,
) -> CodesJob:
    """Cuts the source and looks at what is in the folder already.

    Raises:
        InputError: impossible settings, or the folder holds other codes.
    """
    if batch_size < 1 or rows_per_shard < 1:
        raise InputError(f"batch_size and rows_per_shard must be at least 1, got {batch_size} and {rows_per_shard}")
    if not _SPLIT_NAME.fullmatch(split):
        raise InputError(f"a split's name is letters, digits and underscores, with dots between, got {split!r}")
    manifest = _new_manifest(tokenizer, processor, tokenizer_id, tokenizer_revision)
    shards = source.input_shards(rows_per_shard)
    job = CodesJob(
        folder=folder,
        split=split,
        source=source,
        shards=shards,
        plan=_plan(source, manifest, rows_per_shard, views),
        manifest=manifest,
        tokenizer=tokenizer,
        processor=processor,
        views=views,
        batch_size=batch_size,
    )
    _splits_already_there(folder, manifest)
    _check_files(job)
    return job


def _new_manifest(
    tokenizer: TokenizesImages,
    processor: ImageTokenizerImageProcessorPil,
    tokenizer_id: str | None,
    tokenizer_revision: str | None,
) -> CodesManifest:
    config = tokenizer.config
    grids = None
    if processor.do_resize:
        grids = [list(grid) for grid in config.grids(processor.size["height"], processor.size["width"])]
    return CodesManifest(
        tokenizer_id=tokenizer_id or config.name_or_path or None,
        tokenizer_revision=tokenizer_revision,
        codes_fingerprint=codes_fingerprint(tokenizer, processor),
        decoder_fingerprint=decoder_fingerprint(tokenizer),
        preprocessing=json.loads(json.dumps(preprocessing(processor))),
        strides=list(config.strides),
        codebook_sizes=list(config.codebook_sizes),
        grids=grids,
        encoding_dtype=str(tokenizer.dtype).removeprefix("torch."),
        versions=library_versions(),
    )


def _plan(source: CodesSource, manifest: CodesManifest, rows_per_shard: int, views: ViewSettings) -> dict[str, Any]:
    plan = {
        "preprocessing": manifest.preprocessing,
        "codes_fingerprint": manifest.codes_fingerprint,
        "encoding_dtype": manifest.encoding_dtype,
        "rows_per_shard": rows_per_shard,
        "caption_column": source.caption_column,
        "views": vars(views) if views.num_views > 1 else None,
        **source.identity(),
        **source.captions_identity(),
    }
    return json.loads(json.dumps(plan))


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keeps other processes from changing the manifest. The lock ends with the process, however that ends."""
    lock = folder / WORK_FOLDER / "manifest.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "ab") as file:
        with contextlib.suppress(ImportError, OSError):  # Windows has no such locks, nor have some shared disks
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _splits_already_there(folder: Path, manifest: CodesManifest) -> dict[str, SplitManifest]:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder for the codes")
    if not (folder / MANIFEST_NAME).exists():
        return {}
    there = CodesManifest.load(folder)
    for name in ("preprocessing", "codes_fingerprint"):  # the fingerprint covers both, but preprocessing can be named
        _check_equal(folder, name, getattr(there, name), getattr(manifest, name))
    return there.splits


def _check_files(job: CodesJob) -> None:
    """Compares every shard in the folder with the job: another tokenizer's, or another plan's of this split."""
    expected = {job.path(index): index for index in range(len(job.shards))}
    for path in sorted((job.folder / "data").glob("*.parquet")):
        if path in expected:
            job.is_done(expected[path])
            continue
        _check_plan(job, path, read_footer(path))


def _check_plan(job: CodesJob, path: Path, footer: ShardFooter) -> None:
    """Compares the plan of a shard in the folder with the job's; of another split, what decides the codes alone."""
    same_split = path.name.rsplit("-", 3)[0] == job.split
    for name in job.plan if same_split else ("preprocessing", "codes_fingerprint"):
        if (
            name in _NOTED_LATER and name not in footer.plan and job.plan[name] is not None
        ):  # all that came before it is equal
            raise InputError(
                f"{path} was made by an earlier version, which did not note {name}, so it may be of other rows; "
                f"delete data/{job.split}-* to make the split again, or choose another output folder"
            )
        _check_equal(path, name, footer.plan.get(name), job.plan[name])


def _check_equal(place: Path, name: str, there: Any, wanted: Any) -> None:
    if there != wanted:
        raise InputError(
            f"{place} was made with {name} {_short(there)}, this run has {_short(wanted)}; choose another output folder"
        )


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else str(value)
