"""Progress bars on standard error, quiet when nobody watches a terminal."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextlib.contextmanager
def progress_bar(
    label: str, total: int | None, done: int = 0, *, enabled: bool = True
) -> Iterator[Callable[[int], None]]:
    """Shows a bar while the block runs and yields a function that advances it by a number of units."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description:>12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not enabled or not console.is_terminal) as progress:
        task = progress.add_task(label, total=total, completed=done)
        yield lambda count: progress.update(task, advance=count)
