"""Times of several ways to do one thing, taken in turns; and the memory that each needs beyond what it starts with."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pictogram.hub.files import write_json

Arms = Mapping[str, Callable[[], Any]]


def measure(arms: Arms, repeats: int) -> dict[str, dict[str, float]]:
    """Medians over `repeats` rounds A, B, ..., A, B, ... after one round that does not count.

    Returns:
        By arm `seconds` (wall) and `cpu_seconds` (of all threads of this process).
    """
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    for repeat in range(repeats + 1):
        for name, run in arms.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if repeat:
                times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: dict(zip(("seconds", "cpu_seconds"), map(statistics.median, zip(*taken, strict=True)), strict=True))
        for name, taken in times.items()
    }


def print_report(report: Mapping[str, Any], path: Path | None) -> None:
    """Prints a report as JSON, and writes it to a file if one is named."""
    print(json.dumps(report, indent=1))
    if path is not None:
        write_json(path, report)


def extra_memory(run: Callable[[], Any]) -> int:
    """Bytes by which this process's resident memory peaks during `run` above what it was before.

    For a fresh process: memory that was freed but not given back to the system would hide what `run` needs. Unlike
    `ru_maxrss`, the peak that Linux keeps here does not start from the parent process's.
    """
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)  # the system may have taken pages back in between


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":"))
