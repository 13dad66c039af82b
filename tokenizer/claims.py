"""Who works on which shard: files in a shared folder, so that any number of processes divide the work among them.

A claim is advice, not a lock. Shards are renamed into place whole, and everybody makes the same bytes, so two processes
that work on one shard after all cost time and nothing else. A claim ends with its worker: one that has not said for a
while that it is alive, or whose process is gone from this machine, has lost its claims to whoever comes next.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..hub.files import atomic_write_text

WORK_FOLDER = ".pictogram"
"""Hidden, so that `datasets` and the Hub pass it over; gone when the work is done."""

STALE_AFTER = 60.0
"""Seconds after which a silent worker counts as lost."""

_HEARTBEAT = 5.0


@dataclass
class WorkerState:
    """What a worker tells of itself.

    Attributes:
        host: machine.
        pid: process.
        started: seconds since 1970.
        pictures: source rows done in this run, finished shards or not.
        seconds: spent on them.
        shard: number of the shard in hand; None between two.
        split: whose shards it makes; None of a version that did not tell.
    """

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=time.time)
    pictures: int = 0
    seconds: float = 0.0
    shard: int | None = None
    split: str | None = None


class Worker:
    """One process among those that make the shards of a split. A context manager: inside, it is known to be alive.

    Args:
        folder: of the codes; a `WORK_FOLDER` in it holds workers and claims.
        split: whose shards are claimed.
        stale_after: seconds, see `STALE_AFTER`.
    """

    def __init__(self, folder: Path, split: str, stale_after: float = STALE_AFTER):
        self.state = WorkerState(split=split)
        self.name = f"{self.state.host}-{self.state.pid}-{secrets.token_hex(3)}"
        self._folder = folder / WORK_FOLDER
        self._split = split
        self._stale_after = stale_after
        self._stopped = threading.Event()
        self._telling = threading.Lock()
        self._heart = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Worker:
        self._tell()
        self._heart.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped.set()
        self._heart.join()
        self._file(self.name).unlink(missing_ok=True)

    def take(self, index: int) -> bool:
        """Claims a shard; False if a living worker has it."""
        claim = self._claim(index)
        try:
            with open(claim, "x", encoding="utf-8") as file:
                file.write(self.name)
        except FileNotFoundError:  # somebody who is done has just cleared the folder away
            leave_word(claim, self.name)
        except FileExistsError:
            if self._is_held(claim):
                return False
            leave_word(claim, self.name)
        self.state.shard = index
        self._tell()
        return True

    def release(self, index: int) -> None:
        """Gives a shard back, done or not."""
        self._claim(index).unlink(missing_ok=True)
        self.state.shard = None

    def advance(self, count: int) -> None:
        """Counts source rows done."""
        self.state.pictures += count
        self.state.seconds = time.time() - self.state.started

    def _is_held(self, claim: Path) -> bool:
        try:
            owner = claim.read_text(encoding="utf-8")
            # An empty claim is being written at this moment, or its writer was killed just then: its age decides.
            file = self._file(owner) if owner else claim
            silent = self._file(self.name).stat().st_mtime - file.stat().st_mtime  # both by the file system's clock
        except FileNotFoundError:  # given back meanwhile, or its worker has gone
            return False
        return silent < self._stale_after and not (owner and is_gone(read_state(file)))

    def _beat(self) -> None:
        while not self._stopped.wait(_HEARTBEAT):
            self._tell()

    def _tell(self) -> None:
        with self._telling:
            leave_word(self._file(self.name), json.dumps(asdict(self.state)))

    def _claim(self, index: int) -> Path:
        return self._folder / f"{self._split}-{index:05d}.claim"

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.worker"


def leave_word(path: Path, text: str) -> None:
    """Writes a file into the work folder, which somebody who is done may clear away at the same moment."""
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError):
            atomic_write_text(path, text)
            return


@dataclass(frozen=True)
class Workers:
    """Who works on a folder of codes.

    Attributes:
        living: those heard of lately.
        lost: those that ended without a word.
    """

    living: list[WorkerState]
    lost: list[WorkerState]


def find_workers(folder: Path) -> Workers:
    """All workers that have left word in a folder of codes, by their files' names."""
    living, lost = [], []
    for file in sorted((folder / WORK_FOLDER).glob("*.worker")):
        state = read_state(file)
        with contextlib.suppress(FileNotFoundError):  # it ends at this moment
            silent = time.time() - file.stat().st_mtime
            if state is not None:
                (lost if silent > STALE_AFTER or is_gone(state) else living).append(state)
    return Workers(living, lost)


def read_state(file: Path) -> WorkerState | None:
    """A worker's own words; None if they cannot be read."""
    try:
        return WorkerState(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def is_gone(state: WorkerState | None) -> bool:
    """Whether a worker of this machine has ended; nothing is known of other machines'."""
    if state is None or state.host != socket.gethostname():
        return False
    try:
        os.kill(state.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's process
        return False
    return False
