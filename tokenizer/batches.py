"""Which rows make global batch number t: a pure function of (seed, t).

Every process can compute every batch, takes its slice, and the only position to save is one integer. So a resumed run,
and a run on another number of processes, sees the same data in the same order.
"""

from __future__ import annotations

import functools
import hashlib

import torch

from ..hub.errors import InputError


def derived_generator(seed: int, *keys: int | str) -> torch.Generator:
    """A random generator that depends on `seed` and `keys` only: independent streams for independent purposes."""
    digest = hashlib.sha256("/".join(map(str, (seed, *keys))).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@functools.lru_cache(maxsize=4)
def permutation(num_rows: int, seed: int, epoch: int) -> torch.Tensor:
    """(num_rows,) int64: the order of the rows in an epoch."""
    return torch.randperm(num_rows, generator=derived_generator(seed, "epoch", epoch))


def global_batch(num_rows: int, batch_size: int, seed: int, step: int) -> list[int]:
    """Rows of global batch `step`: a window on the endless row of shuffled epochs, so no row is dropped or favoured.

    Example:
        >>> sorted(global_batch(4, 2, seed=0, step=0) + global_batch(4, 2, seed=0, step=1))
        [0, 1, 2, 3]
    """
    first = step * batch_size
    rows: list[int] = []
    while len(rows) < batch_size:
        epoch, offset = divmod(first + len(rows), num_rows)
        rows += permutation(num_rows, seed, epoch)[offset : offset + batch_size - len(rows)].tolist()
    return rows


def prefix_counts(step: int, batch_size: int, num_prefixes: int, share: float) -> torch.Tensor:
    """How often each picture of global batch `step` counts in the error of each prefix: 1 / share or 0, 1 on average.

    The pictures that count are spread evenly over the batch, so over the processes, and every prefix has its own.

    Args:
        step: counted from 0.
        batch_size: pictures of the global batch.
        num_prefixes: proper prefixes of the levels.
        share: of the pictures that count, above 0 and at most 1.

    Returns:
        (batch_size, num_prefixes) float32.

    Example:
        >>> prefix_counts(0, batch_size=4, num_prefixes=2, share=0.5).T
        tensor([[0., 2., 0., 2.],
                [2., 0., 2., 0.]])
    """
    positions = step * batch_size + torch.arange(batch_size, dtype=torch.float64)[:, None]
    positions = positions + torch.arange(num_prefixes)
    counts = ((positions + 1) * share).floor() - (positions * share).floor()  # 0 or 1
    return (counts / share).float()


def process_slice(batch_size: int, process_index: int, num_processes: int) -> slice:
    """The part of a global batch that belongs to one process.

    Raises:
        InputError: the processes cannot share the batch equally.
    """
    if batch_size % num_processes:
        raise InputError(f"batch_size must be a multiple of the {num_processes} processes, got {batch_size}")
    share = batch_size // num_processes
    return slice(process_index * share, (process_index + 1) * share)
