"""The EMA codebook: vectors follow the running mean of the latents assigned to them.

van den Oord et al. 2017 (arXiv:1711.00937), appendix A.1, with a k-means start and revival of dead codes. How the
statistics start matters: sums and counts here start from the k-means clusters themselves, so that an unhit code stays
where it is instead of drifting to the origin or off to infinity.
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

_WARM_UPDATES = 10
"""The decay starts at a tenth; 0.9 is reached after 80 updates, 0.99 after 890."""

_SMALLEST_COUNT = 1e-6
"""Running count below which a quotient of sums and counts says nothing."""


class EMACodebook(Quantizer):
    """K vectors of length D that learn by exponential moving averages instead of gradients.

    Args:
        codebook_size: K.
        codebook_dim: D.
        decay: of counts and sums per update; the first updates have a smaller one.
        revival_threshold: a code is dead when its running count is below this fraction of the mean count.
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
        self.embedding = nn.Embedding(codebook_size, codebook_dim)  # (K, D)
        self.embedding.weight.requires_grad_(False)
        self.register_buffer("counts", torch.ones(codebook_size))  # (K,) running use, 1 for an average code
        self.register_buffer("sums", torch.zeros(codebook_size, codebook_dim))  # (K, D), same unit
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.int64))
        self.counts: torch.Tensor
        self.sums: torch.Tensor
        self.num_updates: torch.Tensor

    @torch.no_grad()
    def reset(self) -> None:
        """Random vectors, no statistics; `start` places them properly."""
        init.normal_(self.embedding.weight)
        init.ones_(self.counts)
        init.zeros_(self.sums)
        init.zeros_(self.num_updates)

    def quantize(
        self, latents: torch.Tensor, bias: torch.Tensor | None = None, allowed: torch.Tensor | None = None
    ) -> Quantized:
        """(B, D, h, w) latents -> their codes. The gradient of the commitment loss reaches the latents only."""
        batch_size, _, height, width = latents.shape
        indices = nearest(channels_last(latents.detach()), self.embedding.weight, bias, allowed)
        indices = indices.view(batch_size, height, width)
        quantized = self.vectors(indices)
        commitment_loss = F.mse_loss(latents.float(), quantized)
        return Quantized(ESTIMATORS[self.gradient](latents, quantized), indices, latents.detach(), commitment_loss)

    def vectors(self, indices: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w) float32 vectors, without gradient."""
        return F.embedding(indices, self.embedding.weight.detach()).permute(0, 3, 1, 2)

    def table(self) -> torch.Tensor:
        """(K, D) float32: the codebook."""
        return self.embedding.weight.detach()

    @torch.no_grad()
    def start(self, latents: torch.Tensor, *, seed: int) -> None:
        """Places the vectors by k-means on (B, D, h, w) latents, which must be the same on every process."""
        points = channels_last(latents).float()
        self.place(kmeans(points, len(self.counts), seed=seed), points)

    @torch.no_grad()
    def place(self, vectors: torch.Tensor, points: torch.Tensor) -> None:
        """Puts the codes at (K, D) `vectors`, with the use that (N, D) `points` make of them."""
        self.embedding.weight.copy_(vectors)
        counts = torch.bincount(nearest(points, self.embedding.weight), minlength=len(self.counts)).float()
        # In units of the average code, the start and every batch weigh the same, whatever their sizes.
        counts *= len(counts) / counts.sum()
        # A centroid without points (more codes than points) starts at a tenth of that: soon dead, then revived.
        self.counts.copy_(counts.clamp(min=0.1))
        self.sums.copy_(self.embedding.weight * self.counts.unsqueeze(1))

    @torch.no_grad()
    def update(self, latents: torch.Tensor, indices: torch.Tensor) -> Revival | None:
        """Moves the vectors towards the latents assigned to them, summed over all processes, and revives dead codes.

        Args:
            latents: (B, D, h, w).
            indices: (B, h, w) their codes.

        Returns:
            The revived codes, and beside which they start; None if there were none.
        """
        points, indices = channels_last(latents).float(), indices.reshape(-1)
        counts = torch.bincount(indices, minlength=len(self.counts)).float()  # (K,)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, points)  # (K, D)
        sum_over_processes(counts, sums)
        unit, new = counts.sum() / len(counts), 1 - self._current_decay()
        self.counts.lerp_(counts / unit, new)
        self.sums.lerp_(sums / unit, new)
        # A code unhit for thousands of updates, where none is revived, stays put: its statistics have faded to nothing.
        kept = (self.counts < _SMALLEST_COUNT).unsqueeze(1)
        self.embedding.weight.copy_(torch.where(kept, self.embedding.weight, self.sums / self.counts.unsqueeze(1)))
        self.num_updates += 1
        return self._revive()

    def _current_decay(self) -> float:
        """Less than `decay` in the first updates: there the latents still run, and means that lag behind lose them."""
        updates = int(self.num_updates)
        return min(self.decay, (1 + updates) / (_WARM_UPDATES + updates))

    def _revive(self) -> Revival | None:
        """Puts each dead code beside one of the busiest live ones, which shares its statistics with it."""
        weight = self.embedding.weight
        seed = int(self.num_updates)  # stored, so the draw is the same after a resume
        revival = find_revival(self.counts, weight.shape[1], threshold=self.revival_threshold, seed=seed)
        if revival is None:
            return None
        weight[revival.dead] = weight[revival.busy] + SPLIT_OFFSET * weight.std() * revival.noise
        self.counts[revival.busy] /= 2
        self.counts[revival.dead] = self.counts[revival.busy]
        for rows in (revival.busy, revival.dead):
            self.sums[rows] = weight[rows] * self.counts[rows].unsqueeze(1)
        return revival
