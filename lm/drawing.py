"""Drawing tokens: every draw inverts a cumulative distribution at a uniform number that the caller supplies.

So the same numbers give the same tokens whatever the batch, and `generate()` of transformers can be followed token by
token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F

from ..hub.errors import InputError

_LEAST_TEMPERATURE = 1e-6
"""Still far from a quotient that is infinite."""

_TORCH_SEEDS = 2**32
"""As many seeds torch's generator tells apart on CPUs: of larger ones it takes the lower 32 bits."""

_MOST_GUIDANCE = 1e4
"""Logits times this are far from infinite in float32."""


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How tokens are drawn.

    Attributes:
        temperature: divides the logits, 1e-6 or more; 0 takes the most likely token.
        top_k: keeps the k most likely tokens; 0 keeps all.
        top_p: keeps the fewest tokens whose chances sum to at least this, 0 < top_p <= 1 (Holtzman et al. 2020).
        guidance_scale: 1 follows the prompt as the model does; more, up to 10,000, exaggerates what the prompt changes
            (classifier-free guidance, Ho & Salimans 2022, on logits).

    Raises:
        InputError: a value outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.temperature != 0 and not _LEAST_TEMPERATURE <= self.temperature < float("inf"):
            raise InputError(f"temperature must be 0, or at least {_LEAST_TEMPERATURE}, got {self.temperature}")
        if self.top_k < 0 or not float(self.top_k).is_integer():
            raise InputError(f"top_k must be 0 (all) or a whole number above, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if not 0 <= self.guidance_scale <= _MOST_GUIDANCE:
            raise InputError(f"guidance_scale must be 0 or more, at most {_MOST_GUIDANCE:g}, got {self.guidance_scale}")


def uniforms(seeds: Sequence[int], count: int) -> torch.Tensor:
    """(B, count) float64 uniform numbers; row i depends on `seeds[i]` only.

    Raises:
        InputError: a seed outside 0..2**63 - 1.
    """
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise InputError(f"seeds must be 0 or more and below 2**63, got {seed}")
    rows = [_uniforms_of(seed, count) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, count, dtype=torch.float64)


def _uniforms_of(seed: int, count: int) -> torch.Tensor:
    """(count,) float64 uniform numbers, other ones for every seed."""
    if seed < _TORCH_SEEDS:
        return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).random(count))


def draw(scores: torch.Tensor, uniform: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
    """Inverts each row's cumulative distribution at its uniform number, in float64.

    Args:
        scores: (B, n) logits, -inf where illegal.
        uniform: (B,) in [0, 1).
        sampling: temperature and truncation.

    Returns:
        (B,) int64 columns. Temperature 0 takes the largest score, the first of equal ones.
    """
    if sampling.temperature == 0:
        return scores.argmax(1)
    probabilities = torch.softmax(scores.double() / sampling.temperature, -1)
    probabilities = _truncate(probabilities, sampling)
    cumulative = probabilities.cumsum(-1)  # (B, n)
    total = cumulative[:, -1:]
    # The first sum above the target has a chance of its own; rounding must not lift the target to the total.
    target = torch.minimum(uniform.to(cumulative)[:, None] * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(cumulative, target, right=True).squeeze(1)


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance on logits of one shape; columns that are -inf in `conditional` stay so."""
    guided = torch.lerp(unconditional, conditional, scale)
    return torch.where(conditional == -torch.inf, conditional, guided)


def _truncate(probabilities: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
    """Sets to zero what top-k and top-p leave out; both count on the whole distribution, ties go to the lower id."""
    if not 0 < sampling.top_k < probabilities.shape[1] and sampling.top_p == 1:
        return probabilities
    ordered, columns = probabilities.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        keep[:, int(sampling.top_k) :] = False
    if sampling.top_p < 1:
        keep &= F.pad(ordered.cumsum(-1)[:, :-1], (1, 0)) < sampling.top_p  # the share of all that come before
    return probabilities * torch.zeros_like(keep).scatter(1, columns, keep)
