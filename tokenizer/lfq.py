"""Lookup-free quantization: the sign of each of log2 K channels is one bit of the code.

Yu et al. 2023 (arXiv:2310.05737), section 3.1. An entropy term keeps codes in use: it makes each latent decide for one
code and all latents together spread over all codes. Channels being independent given a latent, its first part is a sum
over channels; the second is taken over the K codes of the whole batch.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F
from transformers import initialization as init

from ..hub.errors import InputError
from .code_usage import sum_over_processes
from .fsq import refuse_table
from .gradients import ESTIMATORS
from .quantizer import Quantized, Quantizer, channels_last

_TEMPERATURE = 0.5
"""Softness of the assignments behind the entropy term, in units of squared distance."""

_SMALLEST_CHANCE = 1e-30
"""A mean chance below this adds nothing to the entropy, but its logarithm must stay a number."""


class LFQ(Quantizer):
    """2^D codes, the corners of a cube of D channels, at -1 and 1.

    Args:
        codebook_size: K, a power of 2 and at least 2.
        entropy_weight: of the entropy term in `codebook_loss`.
        gradient: name of the gradient estimator.

    Raises:
        InputError: the size is no power of 2.
    """

    def __init__(self, codebook_size: int, *, entropy_weight: float, gradient: str = "straight_through"):
        dim = codebook_size.bit_length() - 1
        if dim < 1 or codebook_size != 1 << dim:
            raise InputError(f"an LFQ codebook size must be a power of 2 and at least 2, got {codebook_size}")
        super().__init__(codebook_size, dim, gradient)
        self.entropy_weight = entropy_weight
        self.register_buffer("bits", 1 << torch.arange(dim), persistent=False)  # (D,)
        self.bits: torch.Tensor

    @torch.no_grad()
    def reset(self) -> None:
        """Fills the constants in again, which a model loaded without its buffers lacks."""
        init.copy_(self.bits, 1 << torch.arange(self.dim))

    def quantize(
        self, latents: torch.Tensor, bias: torch.Tensor | None = None, allowed: torch.Tensor | None = None
    ) -> Quantized:
        """(B, D, h, w) latents -> their codes; zero counts as negative."""
        refuse_table(bias, allowed, "LFQ")
        latents = latents.float()
        positive = latents.detach() > 0
        indices = (positive.long() * self.bits.view(-1, 1, 1)).sum(1)
        quantized = positive.float() * 2 - 1
        return Quantized(
            ESTIMATORS[self.gradient](latents, quantized),
            indices,
            latents.detach(),
            commitment_loss=F.mse_loss(latents, quantized),
            codebook_loss=self._entropy_loss(latents) if torch.is_grad_enabled() else None,
        )

    def _entropy_loss(self, latents: torch.Tensor) -> torch.Tensor:
        """Scalar; every process must ask for it, as all learn from each other's codes."""
        return self.entropy_weight * entropy_term(channels_last(latents))

    def vectors(self, indices: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w) float32 vectors of -1 and 1."""
        return ((indices.unsqueeze(1) & self.bits.view(-1, 1, 1)) > 0).float() * 2 - 1


def entropy_term(points: torch.Tensor) -> torch.Tensor:
    """Mean entropy of each latent's soft assignment less the entropy of their mean over all processes, in nats.

    It is least when each latent is sure of its code and all codes are used alike.

    Args:
        points: (N, D).

    Returns:
        Scalar.
    """
    # The squared distances to -1 and 1 differ by 4 z.
    logits = 4 / _TEMPERATURE * points.float()
    margin = logits.abs()
    # By the logits: p log p has no gradient in floats where a chance has been rounded to 0 or 1.
    sure = (F.softplus(-margin) + margin * torch.sigmoid(-margin)).sum(1).mean()
    chances, half = logits.sigmoid(), points.shape[1] // 2  # (N, D) of each bit being 1
    # Autocast would run the product in half precision.
    with torch.autocast(points.device.type, enabled=False):
        # The chance of a code is a product over its bits, so two factors of about sqrt(K) columns make the mean over N.
        mean = _joint(chances[:, :half]).T @ _joint(chances[:, half:]) / len(points)  # (2^half, 2^(D - half))
    mean = _over_processes(mean)
    return sure + (mean * mean.clamp(min=_SMALLEST_CHANCE).log()).sum()


def _joint(chances: torch.Tensor) -> torch.Tensor:
    """(N, d) chances of independent bits -> (N, 2^d) chances of their combinations."""
    joint = torch.ones(len(chances), 1, device=chances.device)
    for chance in chances.unbind(1):
        joint = torch.cat([joint * (1 - chance).unsqueeze(1), joint * chance.unsqueeze(1)], 1)
    return joint


def _over_processes(mean: torch.Tensor) -> torch.Tensor:
    """The mean over the processes' equal shares of a batch, with the gradient of this process's share.

    Averaging the gradients of all processes, as training does, then gives the gradient of the whole batch.
    """
    total, count = mean.detach().clone(), torch.ones((), device=mean.device)
    sum_over_processes(total, count)
    return mean + (total / count - mean).detach()
