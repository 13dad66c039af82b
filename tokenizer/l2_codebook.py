"""The l2-normalised codebook: latents and vectors on the unit sphere, learned by gradient.

Yu et al. 2021 (arXiv:2110.04627), section 3.2: with unit vectors the nearest one is the one of the greatest cosine, so
no code is left out for being too short or too long, and short vectors (8 or so) keep large codebooks in use. The loss
of the codebook and that of the encoder are kept apart: beta weighs the encoder's only (van den Oord et al. 2017,
eq. 3).
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from .code_usage import SPLIT_OFFSET, Revival, find_revival, sum_over_processes
from .gradients import ESTIMATORS
from .kmeans import kmeans
from .quantizer import Quantized, Quantizer, channels_last, nearest

_SMALLEST_NORM = 1e-6
"""A vector shorter than this has no direction."""


def unit_length(vectors: torch.Tensor, dim: int) -> torch.Tensor:
    """Vectors along `dim`, scaled to length 1. One of no length stays as it is: its scaled gradient would explode."""
    length = vectors.norm(dim=dim, keepdim=True)
    return torch.where(length > _SMALLEST_NORM, vectors / length.clamp(min=_SMALLEST_NORM), vectors)


class L2Codebook(Quantizer):
    """K unit vectors of length D that learn by gradient; latents are normalised before the search.

    Args:
        codebook_size: K.
        codebook_dim: D.
        decay: of the running use of codes, per update.
        revival_threshold: a code is dead when its running use is below this fraction of the mean.
        gradient: name of the gradient estimator.
    """

    def __init__(
        self,
        codebook_size: int,
        codebook_dim: int,
        *,
        decay: float,
        revival_threshold: float,
        gradient: str = "straight_through",
    ):
        super().__init__(codebook_size, codebook_dim, gradient)
        self.decay = decay
        self.revival_threshold = revival_threshold
        self.embedding = nn.Embedding(codebook_size, codebook_dim)  # (K, D), of any length: normalised when read
        self.register_buffer("counts", torch.ones(codebook_size))  # (K,) running use, 1 for an average code
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))
        self.counts: torch.Tensor
        self.num_updates: torch.Tensor

    @torch.no_grad()
    def reset(self) -> None:
        """Random vectors, no statistics; `start` places them properly."""
        init.normal_(self.embedding.weight)
        init.ones_(self.counts)
        init.zeros_(self.num_updates)

    def quantize(
        self, latents: torch.Tensor, bias: torch.Tensor | None = None, allowed: torch.Tensor | None = None
    ) -> Quantized:
        """(B, D, h, w) latents -> their codes.

        The codebook loss moves vectors to (constant) latents, the commitment loss latents to (constant) vectors; both
        are mean squared distances between unit vectors.
        """
        batch_size, _, height, width = latents.shape
        unit = self.compared(latents)
        indices = nearest(channels_last(unit.detach()), self.table(), bias, allowed).view(batch_size, height, width)
        chosen = F.embedding(indices, unit_length(self.embedding.weight.float(), 1)).permute(0, 3, 1, 2)
        return Quantized(
            ESTIMATORS[self.gradient](unit, chosen),
            indices,
            unit.detach(),
            commitment_loss=F.mse_loss(unit, chosen.detach()),
            codebook_loss=F.mse_loss(chosen, unit.detach()),
        )

    def compared(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents of length 1, as the vectors are."""
        return unit_length(latents.float(), 1)

    def vectors(self, indices: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w) float32 unit vectors, without gradient."""
        return F.embedding(indices, self.table()).permute(0, 3, 1, 2)

    def table(self) -> torch.Tensor:
        """(K, D) float32 unit vectors, without gradient."""
        return unit_length(self.embedding.weight.detach().float(), 1)

    @torch.no_grad()
    def start(self, latents: torch.Tensor, *, seed: int) -> None:
        """Places the vectors by k-means on the directions of (B, D, h, w) latents, the same on every process."""
        centroids = kmeans(channels_last(unit_length(latents.float(), 1)), self.codebook_size, seed=seed)
        # Directions that cancel out, or latents of no length, place no vector: it stays where it was.
        has_direction = centroids.norm(dim=1, keepdim=True) > _SMALLEST_NORM
        self.embedding.weight.copy_(unit_length(torch.where(has_direction, centroids, self.embedding.weight), 1))

    @torch.no_grad()
    def update(self, latents: torch.Tensor, indices: torch.Tensor) -> Revival | None:
        """Counts the use of codes over all processes and puts dead ones beside busy ones; no vector moves otherwise."""
        counts = torch.bincount(indices.reshape(-1), minlength=self.codebook_size).float()
        sum_over_processes(counts)
        self.counts.lerp_(counts * (len(counts) / counts.sum()), 1 - self.decay)
        self.num_updates += 1
        seed = int(self.num_updates)  # stored, so the draw is the same after a resume
        revival = find_revival(self.counts, self.dim, threshold=self.revival_threshold, seed=seed)
        if revival is None:
            return None
        table = self.table()
        split = table[revival.busy] + SPLIT_OFFSET * table.std() * revival.noise
        self.embedding.weight[revival.dead] = unit_length(split, 1)
        self.counts[revival.busy] /= 2
        self.counts[revival.dead] = self.counts[revival.busy]
        return revival
