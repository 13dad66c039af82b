"""Rows of a codebook that learn beside rows that cannot: they are a small parameter of their own.

No optimizer ever holds the other rows, so no gradient, momentum, weight decay or running mean can move them.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from .quantizer import channels_last

_MOST_ROWS = 1024
"""Rows whose neighbours are looked for."""


class TrainedRows(nn.Module):
    """Some rows of one level's codebook.

    They are held as offsets from where they started, in units of the distance between rows: a learning rate then means
    the same for any tokenizer, and weight decay pulls a row back to its start instead of to the origin.

    Args:
        table: (K, D) the whole codebook at the start; it is copied.
        indices: (n,) int64, the rows that learn.
    """

    def __init__(self, table: torch.Tensor, indices: torch.Tensor):
        super().__init__()
        self.unit = row_distance(table) / table.shape[1] ** 0.5
        self.register_buffer("table", table.detach().clone(), persistent=False)
        self.register_buffer("indices", indices, persistent=False)
        self.register_buffer("start", table.detach()[indices], persistent=False)
        self.table: torch.Tensor
        self.indices: torch.Tensor
        self.start: torch.Tensor
        self.offsets = nn.Parameter(torch.zeros_like(self.start))

    def rows(self) -> torch.Tensor:
        """(n, D) float32, as they are now, with gradient."""
        return self.start + self.unit * self.offsets

    def vectors(self, codes: torch.Tensor) -> torch.Tensor:
        """(B, h, w) codes -> (B, D, h, w) their vectors, with a gradient to the rows that learn."""
        table = self.table.index_copy(0, self.indices, self.rows())
        return F.embedding(codes, table).permute(0, 3, 1, 2)

    def latent_error(self, latents: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        """Mean squared distance of (B, D, h, w) latents, which are constant, from their vectors, in squared units."""
        return F.mse_loss(vectors, latents.detach().float()) / self.unit**2

    @torch.no_grad()
    def write(self, weight: torch.Tensor) -> None:
        """Puts the rows into the (K, D) codebook; no other row is touched."""
        weight[self.indices] = self.rows()

    @torch.no_grad()
    def restart(self, places: torch.Tensor, latents: torch.Tensor) -> None:
        """Rows `places` (m,) of those that learn start anew at (m, D) latents."""
        self.start[places] = latents
        self.offsets[places] = 0


def row_distance(table: torch.Tensor) -> float:
    """Typical distance between rows of a (K, D) codebook: the median of that to the nearest other row, or 1.

    Rows that are equal have none between them, and do not count.
    """
    rows = table.detach().float()
    chosen = rows[torch.linspace(0, len(rows) - 1, min(len(rows), _MOST_ROWS)).round().long().to(rows.device)]
    distances = torch.cdist(chosen, rows, compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distances.masked_fill(distances == 0, torch.inf).amin(1)
    nearest = nearest[nearest.isfinite()]
    return float(nearest.median()) if len(nearest) else 1.0


def worst_latents(latents: torch.Tensor, vectors: torch.Tensor, count: int) -> torch.Tensor:
    """The (count, D) or fewer latents of a (B, D, h, w) batch that lie farthest from their vectors."""
    points = channels_last(latents).float()
    errors = (points - channels_last(vectors)).square().sum(1)
    return points[errors.argsort(descending=True, stable=True)[:count]]
