"""What a quantizer returns, and the exact nearest-vector search they share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

_BLOCK = 1 << 22
"""Most distances held at once. A block fits a processor's cache better than the whole N x K matrix, never made."""


@dataclass
class Quantized:
    """One level's latents after quantization.

    Attributes:
        quantized: (B, D, h, w) code vectors, with the straight-through gradient to the latents.
        indices: (B, h, w) int64 codes.
        latents: (B, D, h, w) what was quantized, detached; the codebook learns from it.
        commitment_loss: scalar, mean squared distance of latents to their (constant) code vectors, unweighted.
    """

    quantized: torch.Tensor
    indices: torch.Tensor
    latents: torch.Tensor
    commitment_loss: torch.Tensor


def nearest(points: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Index of the nearest of K vectors for each of N points, in float32 whatever the input's precision.

    Args:
        points: (N, D).
        vectors: (K, D).

    Returns:
        (N,) int64; the lowest index wins a tie.
    """
    # Around the vectors' mean: far from the origin the differences between norms would drown in their rounding.
    centre = vectors.float().mean(0)
    vectors = vectors.float() - centre
    half_norms = 0.5 * vectors.square().sum(1)  # (K,)
    rows = max(1, _BLOCK // len(vectors))
    # Autocast would run the products in half precision, whatever the type of their factors.
    with torch.autocast(points.device.type, enabled=False):
        # ||p - v||^2 / 2 = ||p||^2 / 2 - p.v + ||v||^2 / 2, and the first term does not change the order.
        blocks = [
            torch.addmm(half_norms, block.float() - centre, vectors.T, alpha=-1).argmin(1)
            for block in points.split(rows)
        ]
    return torch.cat(blocks)


def straight_through(latents: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """Exactly the value of `quantized`, gradient of the identity to `latents` (Bengio et al. 2013)."""
    # latents + (quantized - latents).detach() would round, and training would not see the very vectors decoding sees.
    return quantized.detach() + (latents - latents.detach())


def channels_last(grid: torch.Tensor) -> torch.Tensor:
    """(B, D, h, w) -> (B * h * w, D)."""
    return grid.permute(0, 2, 3, 1).reshape(-1, grid.shape[1])


class Quantizer(nn.Module):
    """Interface: `quantize` finds codes for latents, `vectors` turns codes back into vectors."""

    def quantize(self, latents: torch.Tensor) -> Quantized:
        """(B, D, h, w) latents -> their codes."""
        raise NotImplementedError

    def vectors(self, indices: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w) vectors."""
        raise NotImplementedError
