"""A chain of stages in one folder, each measured, and skipped when it was finished before."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from ..hub.files import read_json, write_json

_SAMPLING_SECONDS = 0.1


@dataclass(frozen=True)
class StageCost:
    """What a stage took.

    Attributes:
        seconds: wall-clock, over all runs that worked on it and ended by themselves.
        peak_memory_mb: most resident memory of the process while it ran, megabytes.
    """

    seconds: float
    peak_memory_mb: float


class Stages:
    """Remembers in `stages.json` which stages are done and what they cost.

    Args:
        folder: of the whole chain.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.path = Path(folder) / "stages.json"
        self._costs: dict[str, Any] = read_json(self.path) if self.path.exists() else {}
        self._console = Console(stderr=True)

    @contextlib.contextmanager
    def stage(self, name: str, description: str) -> Iterator[None]:
        """Announces and measures the block; its cost is stored when it ends without an error.

        The block runs in any case, and must itself be quick when its result is there already.
        """
        done = name in self._costs
        self._console.print(f"{description}{' (done before)' if done else ''}", highlight=False)
        with _peak_memory() as peak:
            started = time.perf_counter()
            yield
            seconds = time.perf_counter() - started
        if not done:
            self._costs[name] = asdict(StageCost(round(seconds, 1), round(peak[0] / 1e6, 1)))
            write_json(self.path, self._costs)

    @property
    def costs(self) -> dict[str, dict[str, float]]:
        """Per finished stage, the fields of `StageCost`."""
        return dict(self._costs)


@contextlib.contextmanager
def _peak_memory() -> Iterator[list[int]]:
    """Yields a one-element list that holds the most resident bytes seen while the block runs."""
    process, peak, stop = psutil.Process(), [0], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            peak[0] = max(peak[0], process.memory_info().rss)
            stop.wait(_SAMPLING_SECONDS)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()
