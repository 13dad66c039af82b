"""Running use of codes, summed over processes, and which codes are so rarely used that they should start anew."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist

SPLIT_OFFSET = 0.01
"""Distance of a revived code from the code it splits, in standard deviations of the codebook."""


def sum_over_processes(*values: torch.Tensor) -> None:
    """Adds each tensor, in place, over all processes; nothing to do in a single one."""
    if dist.is_available() and dist.is_initialized():
        for value in values:
            dist.all_reduce(value)


@dataclass(frozen=True)
class Revival:
    """Codes to start anew, and where: `dead[i]` goes beside `busy[i]`.

    Attributes:
        dead: (n,) int64 rows that are hardly used.
        busy: (n,) int64 rows that will share their use with them.
        noise: (n, D) standard normal, the direction to move away from the busy row.
    """

    dead: torch.Tensor
    busy: torch.Tensor
    noise: torch.Tensor


def find_revival(counts: torch.Tensor, dim: int, *, threshold: float, seed: int) -> Revival | None:
    """Pairs each code used less than `threshold` of the average with one of the busiest half; None if there is none.

    Args:
        counts: (K,) running use.
        dim: D.
        threshold: fraction of the mean count.
        seed: of the noise: the same on every process and after a resume.
    """
    is_dead = counts < threshold * counts.mean()  # (K,)
    dead = is_dead.nonzero().squeeze(1)
    busiest = counts.argsort(descending=True, stable=True)[: len(counts) // 2]
    busiest = busiest[~is_dead[busiest]]
    dead, busiest = dead[: len(busiest)], busiest[: len(dead)]
    if not len(dead):
        return None
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(dead), dim, generator=generator).to(counts)
    return Revival(dead, busiest, noise)
