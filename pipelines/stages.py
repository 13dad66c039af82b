"""A chain of stages in one folder, each measured over all runs that worked on it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console

from ..hub.files import read_json, write_json

_SAMPLING_SECONDS = 0.1
_SAVING_SECONDS = 5.0


@dataclass(frozen=True)
class StageCost:
    """What a stage took.

    Attributes:
        seconds: wall-clock, summed over all runs that worked on it; of a killed run up to 5 seconds are lost.
        peak_memory_mb: most resident memory of the process while it ran, megabytes, over the same runs.
        done: whether it ended without an error.
    """

    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    done: bool = False


class Stages:
    """Remembers in `stages.json` which stages are done and what they cost.

    Args:
        folder: of the whole chain.
    """

    def __init__(self, folder: str | os.PathLike[str]):
        self.path = Path(folder) / "stages.json"
        stored = read_json(self.path) if self.path.exists() else {}
        self._costs = {name: StageCost(**cost) for name, cost in stored.items()}
        self._console = Console(stderr=True)

    @contextlib.contextmanager
    def stage(self, name: str, description: str) -> Iterator[None]:
        """Announces and measures the block.

        The block runs in any case, and must itself be quick when its result is there already; its cost then stays what
        it was.
        """
        before = self._costs.get(name, StageCost())
        self._console.print(f"{description}{' (done before)' if before.done else ''}", highlight=False)
        if before.done:
            yield
            return

        def store(seconds: float, peak_bytes: int, done: bool = False) -> None:
            peak_mb = max(before.peak_memory_mb, round(peak_bytes / 1e6, 1))
            self._costs[name] = StageCost(round(before.seconds + seconds, 1), peak_mb, done)
            write_json(self.path, {stage: asdict(cost) for stage, cost in self._costs.items()})

        meter = _Meter(store)
        try:
            yield
        finally:
            meter.stop()
            store(meter.seconds, meter.peak_bytes)
        store(meter.seconds, meter.peak_bytes, done=True)

    @property
    def costs(self) -> dict[str, dict[str, float]]:
        """Per finished stage, seconds and peak memory."""
        return {
            name: {"seconds": cost.seconds, "peak_memory_mb": cost.peak_memory_mb}
            for name, cost in self._costs.items()
            if cost.done
        }


class _Meter:
    """Watches time and memory from its making until `stop`, and saves both every few seconds in case of a kill.

    Args:
        save: called with seconds so far and the most resident bytes seen.
    """

    def __init__(self, save: Callable[[float, int], None]):
        self._save, self._started, self._stopped = save, time.perf_counter(), threading.Event()
        self.peak_bytes = psutil.Process().memory_info().rss
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Ends the watch."""
        self.seconds = time.perf_counter() - self._started
        self._stopped.set()
        self._watcher.join()

    def _watch(self) -> None:
        process, saved = psutil.Process(), self._started
        while not self._stopped.wait(_SAMPLING_SECONDS):
            self.peak_bytes = max(self.peak_bytes, process.memory_info().rss)
            now = time.perf_counter()
            if now - saved > _SAVING_SECONDS:
                self._save(now - self._started, self.peak_bytes)
                saved = now
