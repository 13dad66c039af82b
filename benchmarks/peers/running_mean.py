"""Running means of a network's weights, which draw better than the weights themselves."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def follow(mean: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Moves the mean towards the model; early on it spans few steps, or the first weights would stay in it.

    Args:
        mean: a copy of the model, whose parameters move.
        model: as it is after `step`.
        decay: share of the mean that stays, once it spans many steps.
        step: counted from 0.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for old, new in zip(mean.parameters(), model.parameters(), strict=True):
        old.lerp_(new, 1 - decay)
