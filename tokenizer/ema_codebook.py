"""The EMA codebook: vectors follow the running mean of the latents assigned to them.

van den Oord et al. 2017 (arXiv:1711.00937), appendix A.1, with a k-means start and revival of dead codes. How the
statistics start matters: sums and counts here start from the k-means clusters themselves, so that an unhit code stays
where it is instead of drifting to the origin or off to infinity.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F

from .kmeans import kmeans
from .quantizer import Quantized, Quantizer, channels_last, nearest, straight_through

_SPLIT_OFFSET = 0.01
"""Distance of a revived code from the code it splits, in standard deviations of the codebook."""

_SMALLEST_COUNT = 1e-6
"""Running count below which a quotient of sums and counts says nothing."""


class EMACodebook(Quantizer):
    """K vectors of length D that learn by exponential moving averages instead of gradients.

    Args:
        codebook_size: K.
        codebook_dim: D.
        decay: of counts and sums per update.
        revival_threshold: a code is dead when its running count is below this fraction of the mean count.
    """

    def __init__(self, codebook_size: int, codebook_dim: int, *, decay: float, revival_threshold: float):
        super().__init__()
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

    def quantize(self, latents: torch.Tensor) -> Quantized:
        """(B, D, h, w) latents -> their codes. The gradient of the commitment loss reaches the latents only."""
        batch_size, _, height, width = latents.shape
        indices = nearest(channels_last(latents.detach()), self.embedding.weight).view(batch_size, height, width)
        quantized = self.vectors(indices)
        commitment_loss = F.mse_loss(latents.float(), quantized)
        return Quantized(straight_through(latents, quantized), indices, latents.detach(), commitment_loss)

    def vectors(self, indices: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w) float32 vectors, without gradient."""
        return F.embedding(indices, self.embedding.weight.detach()).permute(0, 3, 1, 2)

    @torch.no_grad()
    def start(self, latents: torch.Tensor, *, seed: int) -> None:
        """Places the vectors by k-means on (B, D, h, w) latents, which must be the same on every process."""
        points = channels_last(latents).float()
        self.embedding.weight.copy_(kmeans(points, len(self.counts), seed=seed))
        counts = torch.bincount(nearest(points, self.embedding.weight), minlength=len(self.counts)).float()
        # In units of the average code, the start and every batch weigh the same, whatever their sizes.
        counts *= len(counts) / counts.sum()
        # A centroid without points (more codes than points) starts at a tenth of that: soon dead, then revived.
        self.counts.copy_(counts.clamp(min=0.1))
        self.sums.copy_(self.embedding.weight * self.counts.unsqueeze(1))

    @torch.no_grad()
    def update(self, latents: torch.Tensor, indices: torch.Tensor) -> None:
        """Moves the vectors towards the latents assigned to them, summed over all processes, and revives dead codes.

        Args:
            latents: (B, D, h, w).
            indices: (B, h, w) their codes.
        """
        points, indices = channels_last(latents).float(), indices.reshape(-1)
        counts = torch.bincount(indices, minlength=len(self.counts)).float()  # (K,)
        sums = torch.zeros_like(self.sums).index_add_(0, indices, points)  # (K, D)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(counts)
            dist.all_reduce(sums)
        unit = counts.sum() / len(counts)
        self.counts.lerp_(counts / unit, 1 - self.decay)
        self.sums.lerp_(sums / unit, 1 - self.decay)
        # A code unhit for thousands of updates, where none is revived, stays put: its statistics have faded to nothing.
        kept = (self.counts < _SMALLEST_COUNT).unsqueeze(1)
        self.embedding.weight.copy_(torch.where(kept, self.embedding.weight, self.sums / self.counts.unsqueeze(1)))
        self.num_updates += 1
        self._revive()

    def _revive(self) -> None:
        """Puts each dead code beside one of the busiest live ones, which shares its statistics with it."""
        is_dead = self.counts < self.revival_threshold * self.counts.mean()  # (K,)
        dead = is_dead.nonzero().squeeze(1)
        busiest = self.counts.argsort(descending=True, stable=True)[: len(self.counts) // 2]
        busiest = busiest[~is_dead[busiest]]
        dead, busiest = dead[: len(busiest)], busiest[: len(dead)]
        if not len(dead):
            return
        weight = self.embedding.weight
        # The same draw on every process and after a resume: seeded by the number of updates, which is stored.
        generator = torch.Generator().manual_seed(int(self.num_updates))
        noise = torch.randn(len(dead), weight.shape[1], generator=generator).to(weight)
        weight[dead] = weight[busiest] + _SPLIT_OFFSET * weight.std() * noise
        self.counts[busiest] /= 2
        self.counts[dead] = self.counts[busiest]
        for rows in (busiest, dead):
            self.sums[rows] = weight[rows] * self.counts[rows].unsqueeze(1)
