"""Choosing codes by what they cost: J = D + rate_weight * R, code by code.

The nearest code vector is the best choice only if bits are free (entropy-constrained quantization, Chou, Lookabaugh and
Gray 1989). Here each code minimises its own share of J, given all codes before it: D is the squared error of pixels of
0 to 255, summed over the picture, R the bits by the model that will write the stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..lm.code_chances import CodeChances, CodeReader
from ..tokenizer.model import ImageTokenizer


@dataclass(frozen=True, eq=False)
class RateDistortion:
    """The trade between bits and errors.

    Attributes:
        model: whose latents are quantized.
        chances: of the codes, in the order "level"; float32 will do.
        rate_weight: squared error, of pixels of 0 to 255, that one bit is worth; 0 takes the nearest codes.
        scales: squared pixel error per squared latent error, for each level; see `tokenizer.distortion_scales`.
    """

    model: ImageTokenizer
    chances: CodeChances
    rate_weight: float
    scales: Sequence[float]

    @torch.inference_mode()
    def encode(self, pixel_values: torch.Tensor, num_levels: int) -> torch.Tensor:
        """(B, C, H, W) pictures -> (B, M) codes of their first levels, in the order of the stream."""
        encoding, reader = self.model.encoding(pixel_values), self.chances.reader(len(pixel_values))
        columns: list[torch.Tensor] = []
        for level in range(num_levels):
            latents = encoding.next_latents()
            codes = self._choose(level, latents, reader)  # (B, h * w)
            columns.append(codes)
            encoding.take(self.model.embed_codes(level, codes.view(len(codes), *latents.shape[-2:])))
        return torch.cat(columns, 1)

    def _choose(self, level: int, latents: torch.Tensor, reader: CodeReader) -> torch.Tensor:
        table = self.model.code_vectors(level)  # (K, D)
        points = latents.flatten(2).movedim(2, 0).float()  # (h * w, B, D)
        codes: list[torch.Tensor] = []
        for place in points:
            costs = self.scales[level] * torch.cdist(place, table).square()  # (B, K)
            costs = costs - self.rate_weight * reader.chances().to(costs).clamp(min=1e-30).log2()
            codes.append(costs.argmin(1))
            reader.append(codes[-1].cpu())
        return torch.stack(codes, 1)
