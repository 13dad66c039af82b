"""The endless, shuffled row of a dataset's rows: which rows come when is a pure function of seed and position.

A dataset lies in shards. Every epoch shuffles the shards, takes a few at a time, and shuffles the rows of these few
together. So a reader needs only these in memory, jumps to any position without reading what lies before it, and one
shard, or a pool as large as the dataset, is an ordinary shuffle of everything.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from itertools import accumulate

import torch

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator, permutation


class RowOrder:
    """Rows by their place in the endless row of shuffled epochs.

    Args:
        shard_sizes: rows of every shard, in order; row numbers count through them.
        seed: of all shuffling.
        pool_size: shards whose rows are shuffled together.

    Raises:
        InputError: there are no rows, or the pool is empty.

    Example:
        >>> order = RowOrder([2, 2], seed=0, pool_size=1)
        >>> sorted(order.rows(0, 4)) == sorted(order.rows(4, 4)) == [0, 1, 2, 3]
        True
        >>> {row // 2 for row in order.rows(0, 2)} in ({0}, {1})  # one shard after the other
        True
    """

    def __init__(self, shard_sizes: Sequence[int], seed: int, pool_size: int = 8):
        if sum(shard_sizes) < 1 or min(shard_sizes) < 0:
            raise InputError(f"shards must hold at least one row together, got sizes {list(shard_sizes)}")
        if pool_size < 1:
            raise InputError(f"pool_size must be at least 1, got {pool_size}")
        self.num_rows, self.seed, self.pool_size = sum(shard_sizes), seed, pool_size
        self._sizes = torch.tensor(shard_sizes)
        self._starts = torch.tensor([0, *accumulate(shard_sizes)][:-1])

    def rows(self, first: int, count: int) -> list[int]:
        """The rows at places `first` to `first + count - 1`: every epoch has each row once, none is dropped."""
        rows: list[int] = []
        while len(rows) < count:
            epoch, offset = divmod(first + len(rows), self.num_rows)
            rows += self._part(epoch, offset, count - len(rows))
        return rows

    def _part(self, epoch: int, offset: int, most: int) -> list[int]:
        """Up to `most` rows of an epoch from `offset` on, of one pool."""
        if len(self._sizes) <= self.pool_size:
            return permutation(self.num_rows, self.seed, epoch)[offset : offset + most].tolist()
        ends = self._pool_ends(epoch)
        pool = int(torch.searchsorted(ends, offset, right=True))
        within = offset - (int(ends[pool - 1]) if pool else 0)
        return self._pool(epoch, pool)[within : within + most].tolist()

    def _shards(self, epoch: int) -> torch.Tensor:
        """(S,) the shards in the order of an epoch."""
        return permutation(len(self._sizes), self.seed, epoch)

    def _pool_ends(self, epoch: int) -> torch.Tensor:
        """(P,) the places in an epoch where its pools end."""
        totals = [int(self._sizes[shards].sum()) for shards in self._shards(epoch).split(self.pool_size)]
        return torch.tensor(totals).cumsum(0)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one instance per run
    def _pool(self, epoch: int, pool: int) -> torch.Tensor:
        """(R,) the rows of a pool in their order."""
        shards = self._shards(epoch)[pool * self.pool_size : (pool + 1) * self.pool_size].tolist()
        rows = torch.cat([torch.arange(int(self._sizes[shard])) + self._starts[shard] for shard in shards])
        return rows[torch.randperm(len(rows), generator=derived_generator(self.seed, "pool", epoch, pool))]
