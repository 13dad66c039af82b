"""How far the making of codes is, read off the files that its workers leave in the folder."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..hub.errors import InputError
from .claims import WORK_FOLDER, WorkerState, find_workers, leave_word
from .codes_manifest import MANIFEST_NAME, CodesManifest, DamagedShard, ShardFooter, read_footer, shard_path

if TYPE_CHECKING:
    from .codes_job import CodesJob


@dataclass(frozen=True)
class SplitStatus:
    """How far one split is.

    Attributes:
        split: its name.
        is_complete: whether the manifest lists it.
        num_shards: shards there will be.
        done: shards that are there, whole.
        running: shards that living workers have in hand.
        damaged: names of files that are there, but not whole; they are made again.
        input_rows: source rows there are; None if only reading tells.
        pictures: source rows encoded in finished shards.
        failed: source rows that could not be.
        workers: living ones.
        lost_workers: those that ended without a word.
        pictures_per_second: of the living workers together; 0 without any.
        seconds_left: at that speed; None if it is not known.
    """

    split: str
    is_complete: bool
    num_shards: int
    done: int
    running: int
    damaged: list[str]
    input_rows: int | None
    pictures: int
    failed: int
    workers: int
    lost_workers: int
    pictures_per_second: float
    seconds_left: float | None


def read_status(folder: str | Path) -> list[SplitStatus]:
    """The state of every split that is made or in the making, by name.

    Raises:
        InputError: the folder holds no codes, finished or not.
    """
    folder = Path(folder)
    sizes = {}
    for path in sorted((folder / WORK_FOLDER).glob("*.job")):
        with contextlib.suppress(FileNotFoundError):  # done at this moment: then the manifest, read later, tells
            sizes[path.stem] = json.loads(path.read_text(encoding="utf-8"))
    complete = CodesManifest.load(folder).splits if (folder / MANIFEST_NAME).exists() else {}
    for split, made in complete.items():
        sizes.setdefault(split, {"num_shards": made.num_shards, "input_rows": made.input_rows})
    if not sizes:
        raise InputError(f"{folder} holds no codes, nor is anybody making some")
    return [_status(folder, split, size, split in complete) for split, size in sorted(sizes.items())]


def write_job_size(job: CodesJob) -> None:
    """Leaves word of how much there is to do; every worker of a job writes the same."""
    size = {"num_shards": len(job.shards), "input_rows": job.num_input_rows}
    leave_word(job.folder / WORK_FOLDER / f"{job.split}.job", json.dumps(size))


def _status(folder: Path, split: str, size: dict[str, Any], is_complete: bool) -> SplitStatus:
    footers: list[ShardFooter] = []
    damaged = []
    for index in range(size["num_shards"]):
        path = shard_path(folder, split, index, size["num_shards"])
        try:
            footers += [read_footer(path)] if path.exists() else []
        except DamagedShard:
            damaged.append(path.name)
    found = find_workers(folder)
    living, lost = (_of_split(workers, split) for workers in (found.living, found.lost))
    failed = sum(len(footer.failures) for footer in footers)
    done_rows = sum(footer.input_rows for footer in footers)
    speed = sum(worker.pictures / worker.seconds for worker in living if worker.seconds)
    input_rows: int | None = size["input_rows"]
    is_going = speed > 0 and len(footers) < size["num_shards"]
    return SplitStatus(
        split=split,
        is_complete=is_complete,
        num_shards=size["num_shards"],
        done=len(footers),
        running=sum(worker.shard is not None for worker in living),
        damaged=damaged,
        input_rows=input_rows,
        pictures=done_rows - failed,
        failed=failed,
        workers=len(living),
        lost_workers=len(lost),
        pictures_per_second=speed,
        seconds_left=(input_rows - done_rows) / speed if is_going and input_rows is not None else None,
    )


def _of_split(workers: list[WorkerState], split: str) -> list[WorkerState]:
    return [worker for worker in workers if worker.split in (split, None)]
