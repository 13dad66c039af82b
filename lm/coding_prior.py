"""A prior for coding: everything in float64, so that everybody who computes its chances finds the same frequencies.

In float32 sums depend in their last bits on the shape of a batch, the number of threads and the processor's
instructions, and most streams would break somewhere. In float64 these differences are some 1e-14, and the chance that
one crosses the border between two frequencies is about 2**precision times that for a code. The stock classes compute
norms and rotary positions in float32 even when their weights are float64; here both are float64, too.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..hub.errors import InputError
from .fused_prior import FusedPrior


class ExactRotary(nn.Module):
    """Rotary positions (Su et al. 2021) in float64, from numbers that all computers agree on but for the last bit.

    Args:
        theta: base of the wavelengths.
        head_dim: of queries and keys.
    """

    def __init__(self, theta: float, head_dim: int):
        super().__init__()
        frequencies = [float(theta) ** (-2 * index / head_dim) for index in range(head_dim // 2)]
        self.frequencies = torch.tensor(frequencies, dtype=torch.float64)

    def forward(self, x: torch.Tensor, positions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(1, T) positions -> (1, T, head_dim) cosines and sines; `x` tells nothing new."""
        angles = positions[..., None].double() * self.frequencies.to(positions.device)
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()


def rope_theta(config: PreTrainedConfig) -> float:
    """Base of the wavelengths of a model's rotary positions."""
    return float((getattr(config, "rope_parameters", None) or {}).get("rope_theta", 10_000.0))


@torch.no_grad()
def coding_prior(model: PreTrainedModel) -> FusedPrior:
    """A copy of a prior that computes in float64, on the CPU.

    Args:
        model: a stock Qwen3 or Llama.

    Raises:
        InputError: a model of another kind, or with scaled rotary positions, whose chances cannot be had exactly.
    """
    exact = copy.deepcopy(model).to("cpu", torch.float64)  # pyright: ignore[reportArgumentType, reportCallIssue]
    fused = FusedPrior.of(exact)
    kind = (getattr(model.config, "rope_parameters", None) or {}).get("rope_type", "default")
    if fused is None or kind != "default":
        raise InputError(
            f"{type(model).__name__} cannot be used for compression: it takes a stock Qwen3 or Llama with plain rotary "
            "positions, whose chances come out the same on every computer"
        )
    rotary = ExactRotary(rope_theta(model.config), fused.head_dim)
    return replace(fused, rotary=rotary, eps=fused.eps.double(), _packed_heads={})
