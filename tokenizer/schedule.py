"""Learning rates as pure functions of the step, so that nothing about them needs saving."""

from __future__ import annotations

import math

import torch


def cosine(step: int, num_steps: int, warmup_steps: int, final: float = 0.0) -> float:
    """Linear warm-up, then half a cosine down to `final`. A factor in 0..1 on the peak rate, for step 0..num_steps - 1.

    Example:
        >>> [round(cosine(step, 10, 2), 2) for step in (0, 1, 2, 6, 9)]
        [0.5, 1.0, 1.0, 0.5, 0.04]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, num_steps - warmup_steps)
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_stable_decay(step: int, num_steps: int, warmup_steps: int, decay_share: float) -> float:
    """Linear warm-up, constant, then linear decay over the last `decay_share` of the steps (Hu et al. 2024, MiniCPM).

    Example:
        >>> [round(warmup_stable_decay(step, 10, 2, 0.4), 2) for step in (0, 1, 2, 5, 6, 8, 9)]
        [0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.25]
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    decay_steps = max(1, round(decay_share * num_steps))
    return min(1.0, (num_steps - step) / decay_steps)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Gives every parameter group the same rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
