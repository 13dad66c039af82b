"""Muon that is quick on every processor."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .accelerators import cpu_computes_bfloat16


class Muon(torch.optim.Muon):
    """Momentum made orthogonal, matrix by matrix (Jordan et al. 2024), in updates as large as AdamW's.

    It is `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"` (Liu et al. 2025, arXiv:2502.16982, eq. 4) but for
    one thing. That one orthogonalises in bfloat16, for which many processors have no instructions: on them it takes
    nine tenths of a training. This one does so in the precision that `orthogonalisation_dtype` names.

    Args:
        matrices: (rows, columns) parameters.
        lr: learning rate.
        weight_decay: decoupled.

    Raises:
        ValueError: a parameter that is no matrix, or a negative number.
    """

    def __init__(self, matrices: Sequence[torch.Tensor], *, lr: float = 1e-3, weight_decay: float = 0.1):
        super().__init__([*matrices], lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step by the gradients there are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is not None:
                    self._move(matrix, matrix.grad, group)
        return loss

    def _move(self, matrix: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        state = self.state[matrix]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        direction = gradient.lerp(average, group["momentum"]) if group["nesterov"] else average
        update = orthogonal(
            direction.to(orthogonalisation_dtype(matrix.device)),
            group["ns_coefficients"],
            num_steps=group["ns_steps"],
            eps=group["eps"],
        )
        matrix.mul_(1 - group["lr"] * group["weight_decay"])
        matrix.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(matrix.shape)))


def orthogonal(
    matrix: torch.Tensor, coefficients: tuple[float, float, float], *, num_steps: int, eps: float
) -> torch.Tensor:
    """The matrix with singular values near 1, by Newton-Schulz iterations of fifth degree in its own precision.

    Args:
        matrix: (rows, columns).
        coefficients: of the first, third and fifth power.
        num_steps: iterations.
        eps: the smallest norm to divide by.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T  # the smaller of the two Gram matrices
    wide = wide / wide.norm().clamp(min=eps)
    first, third, fifth = coefficients
    for _ in range(num_steps):
        gram = wide @ wide.T
        powers = torch.addmm(gram, gram, gram, beta=third, alpha=fifth)
        wide = torch.addmm(wide, powers, wide, beta=first)
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


def orthogonalisation_dtype(device: torch.device) -> torch.dtype:
    """bfloat16, but float32 on a processor that has no instructions for products in bfloat16."""
    is_emulated = device.type == "cpu" and not cpu_computes_bfloat16()
    return torch.float32 if is_emulated else torch.bfloat16
