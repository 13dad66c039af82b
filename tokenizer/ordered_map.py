"""A function over many items in threads, its results in order, with a bounded number of items under way."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], executor: Executor | None, ahead: int
) -> Iterator[Result]:
    """Like `map`, but up to `ahead` items are worked on before their results are asked for.

    `Executor.map` would take in all items at once: a whole dataset.

    Args:
        function: called in the executor's threads.
        items: read in the caller's thread.
        executor: None calls the function in the caller's thread, when its result is asked for.
        ahead: items under way, at least 1.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> with ThreadPoolExecutor(2) as threads:
        ...     list(ordered_map(abs, [-1, 2, -3], threads, ahead=2))
        [1, 2, 3]
    """
    if executor is None:
        yield from map(function, items)
        return
    items = iter(items)
    pending: collections.deque[Future[Result]] = collections.deque()
    try:
        pending.extend(executor.submit(function, item) for item in itertools.islice(items, ahead))
        while pending:
            yield pending.popleft().result()
            pending.extend(executor.submit(function, item) for item in itertools.islice(items, 1))
    finally:
        for future in pending:
            future.cancel()
