"""The interface of quantizers: latents in, codes and their vectors out; and the exact nearest-vector search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from ..hub.errors import InputError
from .code_usage import Revival

_BLOCK = 1 << 22
"""Most distances held at once."""

_ROWS = 512
"""Most points in a block, for each thread of a processor: with 512 codes their distances stay in its own cache."""

_GROUP = 64
"""Codes of which only the least distance is found at first."""


@dataclass
class Quantized:
    """One level's latents after quantization.

    Attributes:
        quantized: (B, D, h, w) float32 code vectors, with the estimated gradient to the latents.
        indices: (B, h, w) int64 codes.
        latents: (B, D, h, w) what was quantized, detached; the codebook learns from it.
        commitment_loss: scalar, mean squared distance of latents to their (constant) code vectors, unweighted.
        codebook_loss: scalar, what a codebook that learns by gradient adds to the loss; None for the others, and may
            be None where no gradient is asked for.
        rate: what the codes cost; None where bits do not count.
    """

    quantized: torch.Tensor
    indices: torch.Tensor
    latents: torch.Tensor
    commitment_loss: torch.Tensor
    codebook_loss: torch.Tensor | None = None
    rate: LevelRateTerms | None = None


@dataclass
class LevelRateTerms:
    """What the codes of one level cost, where a rate counts.

    Attributes:
        bits: scalar, of the chosen codes, a picture; its gradient teaches the rate model and nothing else.
        soft_bits: scalar, expected bits a picture of codes drawn by their cost; its gradient reaches the latents only.
    """

    bits: torch.Tensor
    soft_bits: torch.Tensor


def nearest(
    points: torch.Tensor,
    vectors: torch.Tensor,
    bias: torch.Tensor | None = None,
    allowed: torch.Tensor | None = None,
    centred: bool = True,
) -> torch.Tensor:
    """Index of the nearest of K vectors for each of N points, in float32 whatever the input's precision.

    Args:
        points: (N, D).
        vectors: (K, D).
        bias: (K,) or, for each point, (N, K) added to the squared distances: what choosing each vector costs besides
            its distance.
        allowed: (K,) bool, the vectors that may be chosen.
        centred: measure around the vectors' mean. False for a codebook with rows so far away that they drag it along.

    Returns:
        (N,) int64; the lowest index wins a tie.

    Raises:
        InputError: a bias or mask of another length, or not one vector is allowed.
    """
    vectors = vectors.float()
    # Around their mean: far from the origin the differences between norms would drown in their rounding.
    centre = vectors.mean(0) if centred else vectors.new_zeros(vectors.shape[1])
    vectors = vectors - centre
    costs = 0.5 * vectors.square().sum(1)  # (K,)
    each = None
    if bias is not None and bias.ndim == 2:
        each = _for_each(bias, len(points), len(vectors))
    elif bias is not None:
        costs = costs + 0.5 * _of_length("bias", bias, len(vectors)).float()
    if allowed is not None:
        costs = costs.masked_fill(~_allowed(allowed, len(vectors)), torch.inf)
    rows = _BLOCK // len(vectors)
    if points.device.type == "cpu":
        rows = min(rows, _ROWS * torch.get_num_threads())
    # One block for all products: the N x K matrix is never made, nor fresh memory asked for again and again.
    products = costs.new_empty(min(max(1, rows), max(1, len(points))), len(vectors))
    # Autocast would run the products in half precision, whatever the type of their factors.
    with torch.no_grad(), torch.autocast(points.device.type, enabled=False):
        # ||p - v||^2 / 2 = ||p||^2 / 2 - p.v + ||v||^2 / 2, and the first term does not change the order.
        blocks: list[torch.Tensor] = []
        for first in range(0, len(points), len(products)):
            block = points[first : first + len(products)].float() - centre
            base = costs if each is None else torch.add(costs, each[first : first + len(products)], alpha=0.5)
            blocks.append(_argmin(torch.addmm(base, block, vectors.T, alpha=-1, out=products[: len(block)])))
    return torch.cat(blocks) if blocks else torch.empty(0, dtype=torch.int64, device=points.device)


def _argmin(costs: torch.Tensor) -> torch.Tensor:
    """(n, K) -> (n,) int64, the lowest of equal ones; `argmin` alone takes several times as long as `amin`."""
    count, size = costs.shape
    if size % _GROUP or size == _GROUP:
        return costs.argmin(1)
    groups = costs.view(-1, _GROUP)  # (n * K / _GROUP, _GROUP)
    group = groups.amin(1).view(count, -1).argmin(1)
    first_group = torch.arange(0, len(groups), size // _GROUP, device=costs.device)
    inside = groups.index_select(0, first_group + group).argmin(1)
    return group * _GROUP + inside


def _for_each(bias: torch.Tensor, num_points: int, num_vectors: int) -> torch.Tensor:
    if bias.shape != (num_points, num_vectors):
        raise InputError(
            f"bias must have one entry per point and code, ({num_points}, {num_vectors}), got {tuple(bias.shape)}"
        )
    return bias.detach().float()


def _of_length(name: str, values: torch.Tensor, count: int) -> torch.Tensor:
    if values.shape != (count,):
        raise InputError(f"{name} must have one entry per code, ({count},), got {tuple(values.shape)}")
    return values


def _allowed(allowed: torch.Tensor, count: int) -> torch.Tensor:
    allowed = _of_length("allowed", allowed, count).bool()
    if not allowed.any():
        raise InputError(f"at least one of the {count} codes must be allowed, got none")
    return allowed


def channels_last(grid: torch.Tensor) -> torch.Tensor:
    """(B, D, h, w) -> (B * h * w, D)."""
    return grid.permute(0, 2, 3, 1).reshape(-1, grid.shape[1])


class Quantizer(nn.Module):
    """Interface: `quantize` finds codes for latents, `vectors` turns codes back into vectors.

    Args:
        codebook_size: K, number of codes.
        dim: D, channels of latents and vectors.
        gradient: name of the gradient estimator, a key of `ESTIMATORS`.
    """

    def __init__(self, codebook_size: int, dim: int, gradient: str):
        super().__init__()
        self.codebook_size = codebook_size
        self.dim = dim
        self.gradient = gradient

    def reset(self) -> None:
        """Gives parameters and statistics their values before training; those of a fixed grid never change."""

    def quantize(
        self, latents: torch.Tensor, bias: torch.Tensor | None = None, allowed: torch.Tensor | None = None
    ) -> Quantized:
        """(B, D, h, w) latents -> their codes.

        Args:
            latents: any float precision; the search runs in float32.
            bias: (K,), or (B * h * w, K) for each cell, added to the squared distances: a code can cost more than its
                distance.
            allowed: (K,) bool, the codes that may be chosen.

        Raises:
            InputError: `bias` or `allowed` do not fit, or this quantizer has no table to apply them to.
        """
        raise NotImplementedError

    def compared(self, latents: torch.Tensor) -> torch.Tensor:
        """(B, D, h, w) latents -> float32, in the space where they are compared with code vectors."""
        return latents.float()

    def vectors(self, indices: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w) float32 vectors, without gradient."""
        raise NotImplementedError

    def table(self) -> torch.Tensor:
        """(K, D) float32: the vector of every code."""
        indices = torch.arange(self.codebook_size, device=next(self.buffers()).device)
        return channels_last(self.vectors(indices.view(1, 1, -1)))

    def start(self, latents: torch.Tensor, *, seed: int) -> None:
        """Places the vectors by (B, D, h, w) latents, the same on every process. A fixed grid of vectors stays."""

    def update(self, latents: torch.Tensor, indices: torch.Tensor) -> Revival | None:
        """Learns from one batch outside the gradient: (B, D, h, w) latents, (B, h, w) codes. A fixed grid does not.

        Returns:
            The codes that started anew, and beside which; None if there were none.
        """
