"""L(N, D) = E + A / N^alpha + B / D^beta, fitted to points (Hoffmann et al. 2022, arXiv:2203.15556, section 3.3).

The fit minimises the Huber loss of the logarithms' residuals from many starts. With a dozen points and five numbers
the law is a summary of what was measured; it is no licence to extrapolate, and its residuals stand beside it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch

_HUBER = 1e-3


MILLION = 1e6


def fit_law(points: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Fits the law.

    Args:
        points: each with `parameters` N, `codes_seen` D and `bits`, whose `value` is L.

    Returns:
        `E`, `A`, `B`, `alpha`, `beta`, with N and D in millions; `residuals`: measured over fitted, less one, of each
        point; `worst_residual`.
    """
    sizes, codes, bits = (
        torch.tensor([float(read(point)) for point in points], dtype=torch.float64)
        for read in (
            lambda point: point["parameters"] / MILLION,
            lambda point: point["codes_seen"] / MILLION,
            lambda point: point["bits"]["value"],
        )
    )
    fits = [_descend(torch.tensor(start, dtype=torch.float64), sizes, codes, bits) for start in _starts(bits)]
    _, best = min(fits, key=lambda fit: fit[0])
    residuals = (bits / law(best, sizes, codes) - 1).tolist()
    return {
        **dict(zip(("E", "A", "B", "alpha", "beta"), best.exp().tolist(), strict=True)),
        "residuals": residuals,
        "worst_residual": max(map(abs, residuals)),
    }


def law(numbers: torch.Tensor, sizes: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Bits of (n,) points by the law, from (5,) logarithms of E, A, B, alpha and beta: all are above zero."""
    least, a, b, alpha, beta = numbers.exp()
    return least + a * sizes.pow(-alpha) + b * codes.pow(-beta)


def _starts(bits: torch.Tensor) -> list[tuple[float, ...]]:
    least = math.log(float(bits.min()))
    exponents = (math.log(0.3), math.log(0.7))
    grid = itertools.product((0.7, 0.9, 0.99), (2.0, 4.0), (2.0, 4.0), exponents, exponents)
    return [(least + math.log(share), *rest) for share, *rest in grid]


def _descend(
    numbers: torch.Tensor, sizes: torch.Tensor, codes: torch.Tensor, bits: torch.Tensor
) -> tuple[float, torch.Tensor]:
    """The loss and (5,) numbers that L-BFGS ends at."""
    numbers = numbers.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([numbers], max_iter=200, line_search_fn="strong_wolfe", tolerance_change=1e-14)

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        off = law(numbers, sizes, codes).log() - bits.log()
        value = torch.nn.functional.huber_loss(off, torch.zeros_like(off), delta=_HUBER, reduction="sum") / _HUBER
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    value = float(loss().detach())
    return (value if math.isfinite(value) else math.inf), numbers.detach()
