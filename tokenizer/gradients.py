"""Gradients through a quantizer, which has none: estimators that take a code vector's gradient to its latent."""

from __future__ import annotations

from collections.abc import Callable

import torch

_SMALLEST_NORM = 1e-6
"""A vector shorter than this has no direction to rotate."""

_SMALLEST_SUM = 1e-4
"""Unit vectors whose sum is shorter than this count as opposite: rounding decides its direction."""


def straight_through(latents: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """Exactly the value of `quantized`, gradient of the identity to `latents` (Bengio et al. 2013, arXiv:1308.3432).

    Args:
        latents: (B, D, h, w).
        quantized: (B, D, h, w) code vectors.
    """
    # latents + (quantized - latents).detach() would round, and training would not see the very vectors decoding sees.
    return quantized.detach() + (latents - latents.detach())


def rotate(latents: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """Exactly the value of `quantized`, gradient of the rotation and scaling that carries each latent onto its code.

    With e and q of unit length and r = (e + q) / ||e + q||, the rotation is I - 2 r r^T + 2 q e^T, constant for the
    gradient (Fifty et al. 2024, arXiv:2410.06424, section 4). A latent or code of no length falls back to the identity;
    opposite ones, which no one plane joins, to the reflection I - 2 e e^T.

    Args:
        latents: (B, D, h, w).
        quantized: (B, D, h, w) code vectors.
    """
    constant, target = latents.detach().float(), quantized.detach().float()
    length, target_length = (vector.norm(dim=1, keepdim=True) for vector in (constant, target))
    has_direction = (length > _SMALLEST_NORM) & (target_length > _SMALLEST_NORM)  # (B, 1, h, w)
    e, q = (vector / size.clamp(min=_SMALLEST_NORM) for vector, size in ((constant, length), (target, target_length)))
    middle = e + q
    sum_length = middle.norm(dim=1, keepdim=True)
    middle = torch.where(sum_length > _SMALLEST_SUM, middle / sum_length.clamp(min=_SMALLEST_SUM), 0)
    moving = latents.float()
    rotated = moving - 2 * _dot(middle, moving) * middle + 2 * _dot(e, moving) * q
    scaled = rotated * (target_length / length.clamp(min=_SMALLEST_NORM))
    carried = torch.where(has_direction, scaled, moving)
    return target + (carried - carried.detach())


def _dot(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left * right).sum(1, keepdim=True)


ESTIMATORS: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "straight_through": straight_through,
    "rotation": rotate,
}
"""Gradient estimators by the name a configuration gives."""
