"""Pictures -> a folder of codes that any `datasets` user opens and that may be killed at any moment while it is made.

Any number of processes may call `write_codes` for one folder at once, on one machine or on several that share it: they
find each other by the files in it, divide the shards among them, and return when all are done.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

from .claims import WORK_FOLDER, Worker, find_workers
from .codes_job import CodesJob, new_job
from .codes_manifest import CodesManifest
from .codes_status import write_job_size
from .image_processor import ImageTokenizerImageProcessorPil
from .images import Progress
from .input_shards import CodesSource
from .interface import TokenizesImages
from .views import ViewSettings

ROWS_PER_SHARD = 4096

_PAUSE = 0.5
"""Seconds between two looks at the shards that others work on."""


def write_codes(
    source: CodesSource,
    tokenizer: TokenizesImages,
    processor: ImageTokenizerImageProcessorPil,
    output_dir: str | Path,
    split: str = "train",
    batch_size: int = 64,
    rows_per_shard: int = ROWS_PER_SHARD,
    tokenizer_id: str | None = None,
    tokenizer_revision: str | None = None,
    views: ViewSettings | None = None,
    num_threads: int | None = None,
    progress: Progress | None = None,
) -> CodesManifest:
    """Encodes every picture of a source, or what earlier or other processes leave of it.

    Rows hold `key`, `view` (0: as it is), `codes_0` ... `codes_{L-1}` (flat, raster order), with `do_resize=False` also
    `grid_0` ... (rows, columns), the picture's own `height` and `width`, `caption` (text or list of texts as in the
    source), and the source's other columns; one whose name is taken is carried as "source_<name>", or with more of
    "source_" before it. Pictures that cannot be read, or whose sides the strides do not divide, are left out and listed
    in the manifest.

    Args:
        source: the pictures.
        tokenizer: on any device; codes are made in its dtype.
        processor: the tokenizer's image processor.
        output_dir: the folder, new or from an earlier run with the same tokenizer; other splits in it stay.
        split: name of the split to write.
        batch_size: pictures encoded at once.
        rows_per_shard: source rows behind each parquet file, where the source can be cut anywhere.
        tokenizer_id: name or path for the manifest; where the tokenizer was loaded from, unless told.
        tokenizer_revision: commit of the repository that it was loaded from.
        views: augmented views of every picture as further rows; none unless told.
        num_threads: threads that decode pictures while others are encoded; 0 decodes in turn, None takes one for each
            core, at most 8.
        progress: called with the number of source rows done since the last call.

    Returns:
        The folder's manifest, which is on disk by then.

    Raises:
        InputError: `output_dir` holds other codes (before any work), or no picture could be encoded.
    """
    job = new_job(
        source,
        tokenizer,
        processor,
        Path(output_dir),
        split=split,
        rows_per_shard=rows_per_shard,
        batch_size=batch_size,
        views=views or ViewSettings(),
        tokenizer_id=tokenizer_id,
        tokenizer_revision=tokenizer_revision,
    )
    return run_job(job, lambda worker: make_shards(job, worker, num_threads, progress))


def run_job(job: CodesJob, make: Callable[[Worker], None]) -> CodesManifest:
    """Has `make` do what is left of a job, as a worker that others know of, and writes the manifest."""
    with Worker(job.folder, job.split) as worker:
        write_job_size(job)
        make(worker)
        manifest = job.finish()
    remove_work_folder(job.folder, manifest)
    return manifest


def make_shards(
    job: CodesJob, worker: Worker, num_threads: int | None = None, progress: Progress | None = None
) -> None:
    """Works on shards until all are done, here or elsewhere; what a process that died had claimed is taken over."""
    pending = _own_first(len(job.shards))
    with decoding_threads(num_threads) as executor:
        while pending:
            left = [index for index in pending if not _made(job, index, worker, executor, progress)]
            if len(left) == len(pending):
                time.sleep(_PAUSE)
            pending = left


@contextlib.contextmanager
def decoding_threads(num_threads: int | None) -> Iterator[Executor | None]:
    """Threads that decode pictures; None for no threads, see `write_codes`."""
    num_threads = min(8, os.cpu_count() or 1) if num_threads is None else num_threads
    if not num_threads:
        yield None
        return
    executor = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def remove_work_folder(folder: Path, manifest: CodesManifest) -> None:
    """Removes what workers told of themselves and what killed ones left half written, unless some are still at work.

    Of splits that were begun and are not in the manifest yet, what was told stays, for `read_status`.
    """
    work_folder = folder / WORK_FOLDER
    if find_workers(folder).living:
        return
    if all(begun.stem in manifest.splits for begun in work_folder.glob("*.job")):
        shutil.rmtree(work_folder, ignore_errors=True)
    for half_written in [*folder.glob(".*.tmp"), *(folder / "data").glob(".*.tmp")]:
        half_written.unlink(missing_ok=True)


def _made(job: CodesJob, index: int, worker: Worker, executor: Executor | None, progress: Progress | None) -> bool:
    """Whether a shard is done, by us or by another; False if another is at it."""

    def advance(count: int) -> None:
        worker.advance(count)
        if progress is not None:
            progress(count)

    if not job.is_done(index):
        if not worker.take(index):
            return False
        try:
            if not job.is_done(index):  # another may have finished it just before its claim became ours
                job.encode_shard(index, executor, advance)
                return True
        finally:
            worker.release(index)
        job.is_done(index)
    if progress is not None:
        progress(job.num_rows(index))
    return True


def _own_first(num_shards: int) -> list[int]:
    """All shards, beginning with this process's share under torchrun: who starts apart seldom meets."""
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    return sorted(range(num_shards), key=lambda index: ((index - rank) % world_size, index))
