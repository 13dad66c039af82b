"""The two-level VQ-VAE-2 (Razavi et al. 2019, arXiv:1906.00446) written down the obvious way, to measure against.

The modules, their order and the tensor names are those of the well-known PyTorch port, so one state dict fits both this
network and the layout "vqvae2"; the search holds the whole N x K matrix of distances and one-hot codes of the same
size, as the port's does.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class PlainCodebook(nn.Module):
    """K vectors that follow a running mean (van den Oord et al. 2017, appendix A.1).

    Args:
        dim: D.
        size: K.
        one_hot_always: make the one-hot codes in evaluation mode too, where nothing reads them, as the port does.
    """

    def __init__(self, dim: int, size: int, decay: float = 0.99, one_hot_always: bool = True):
        super().__init__()
        self.decay = decay
        self.one_hot_always = one_hot_always
        vectors = torch.randn(dim, size)
        self.register_buffer("embed", vectors)
        self.register_buffer("cluster_size", torch.ones(size))
        self.register_buffer("embed_avg", vectors.clone())
        self.embed: torch.Tensor
        self.cluster_size: torch.Tensor
        self.embed_avg: torch.Tensor

    def forward(self, latents: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, D, h, w) -> vectors with a straight-through gradient, commitment loss, (B, h, w) codes."""
        grid = latents.permute(0, 2, 3, 1)
        points = grid.reshape(-1, grid.shape[-1])
        distances = points.square().sum(1, keepdim=True) - 2 * points @ self.embed + self.embed.square().sum(0)
        codes = distances.argmin(1)
        vectors = F.embedding(codes, self.embed.T).view_as(grid)
        if self.training or self.one_hot_always:
            one_hot = F.one_hot(codes, self.embed.shape[1]).to(points.dtype)
            if self.training:
                self._update(points.detach(), one_hot)
        commitment = F.mse_loss(grid, vectors)
        vectors = grid + (vectors - grid).detach()
        return vectors.permute(0, 3, 1, 2), commitment, codes.view(grid.shape[:-1])

    @torch.no_grad()
    def _update(self, points: torch.Tensor, one_hot: torch.Tensor) -> None:
        self.cluster_size.lerp_(one_hot.sum(0), 1 - self.decay)
        self.embed_avg.lerp_(points.T @ one_hot, 1 - self.decay)
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + 1e-5) / (total + len(self.cluster_size) * 1e-5) * total
        self.embed.copy_(self.embed_avg / smoothed)


class PlainBlock(nn.Module):
    """ReLU, 3x3, ReLU, 1x1, added to the input."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        layers = nn.ReLU(), nn.Conv2d(width, inner, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(inner, width, 1)
        self.conv = nn.Sequential(*layers)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> the same."""
        return self.conv(hidden) + hidden


class PlainStack(nn.Module):
    """Layers in a row, under the port's name `blocks`."""

    def __init__(self, *layers: nn.Module):
        super().__init__()
        self.blocks = nn.Sequential(*layers)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) -> (B, C', h', w')."""
        return self.blocks(hidden)


class PlainVQVAE2(nn.Module):
    """RGB pictures (B, 3, H, W) -> one code per 8x8 and one per 4x4 pixels, and back."""

    def __init__(
        self, width: int = 128, num_blocks: int = 2, inner: int = 32, dim: int = 64, size: int = 512, **codebook: bool
    ):
        super().__init__()

        def halve(channels: int, out_channels: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, out_channels, 4, stride=2, padding=1), nn.ReLU(inplace=True)]

        def double(channels: int, out_channels: int) -> nn.Module:
            return nn.ConvTranspose2d(channels, out_channels, 4, stride=2, padding=1)

        def body(channels: int) -> list[nn.Module]:
            blocks = [PlainBlock(width, inner) for _ in range(num_blocks)]
            return [nn.Conv2d(channels, width, 3, padding=1), *blocks, nn.ReLU(inplace=True)]

        half = width // 2
        self.enc_b = PlainStack(*halve(3, half), *halve(half, width), *body(width))
        self.enc_t = PlainStack(*halve(width, half), *body(half))
        self.quantize_conv_t = nn.Conv2d(width, dim, 1)
        self.quantize_t = PlainCodebook(dim, size, **codebook)
        self.dec_t = PlainStack(*body(dim), double(width, dim))
        self.quantize_conv_b = nn.Conv2d(dim + width, dim, 1)
        self.quantize_b = PlainCodebook(dim, size, **codebook)
        self.upsample_t = double(dim, dim)
        self.dec = PlainStack(*body(2 * dim), double(width, half), nn.ReLU(inplace=True), double(half, 3))

    def quantize(self, pixel_values: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor]]:
        """Vectors and codes of the top and the bottom level, and between them the sum of the commitment losses."""
        fine = self.enc_b(pixel_values)
        top, loss_top, codes_top = self.quantize_t(self.quantize_conv_t(self.enc_t(fine)))
        latents = self.quantize_conv_b(torch.cat([self.dec_t(top), fine], 1))
        bottom, loss_bottom, codes_bottom = self.quantize_b(latents)
        return [top, bottom], loss_top + loss_bottom, [codes_top, codes_bottom]

    def encode(self, pixel_values: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) -> codes (B, H/8, W/8) and (B, H/4, W/4)."""
        return self.quantize(pixel_values)[2]

    def loss(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Squared error and a quarter of the commitment losses, over all levels."""
        (top, bottom), commitment, _ = self.quantize(pixel_values)
        reconstruction = self.dec(torch.cat([self.upsample_t(top), bottom], 1))
        return F.mse_loss(reconstruction, pixel_values) + 0.25 * commitment
