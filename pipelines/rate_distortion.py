"""Choosing codes by what they cost: J = D + rate_weight * R, code by code.

The nearest code vector is the best choice only if bits are free (entropy-constrained quantization, Chou, Lookabaugh and
Gray 1989). Here each code minimises its own share of J, given all codes before it: D is the squared error of pixels of
0 to 255, summed over the picture, R the bits by the model that will write the stream.

A code's share of D is estimated from its latent error, and too low: errors of codes side by side, all drawn towards
what is likely, add up in the pixels that they share. So some pictures are encoded and decoded with errors weighed 1, 2,
4 and more times as heavily, and what is best for J on them is done with all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..lm.code_chances import CodeChances, CodeReader
from ..lm.order import unflatten
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.rate_model import PIXEL_UNIT

CAUTIONS = (1.0, 2.0, 4.0, 8.0, math.inf)
"""How many times as heavily errors are weighed, one of which is best; the last leaves it to the image tokenizer."""


@dataclass(frozen=True, eq=False)
class ChosenCodes:
    """Codes and what they cost.

    Attributes:
        codes: (B, M) int64, of the first levels, in the order of the stream.
        bits: (B,) float32, of all of a picture's codes by the model that chose them.
    """

    codes: torch.Tensor
    bits: torch.Tensor


@dataclass(frozen=True, eq=False)
class RateDistortion:
    """The trade between bits and errors.

    Attributes:
        model: whose latents are quantized.
        chances: of the codes, in the order "level"; float32 will do.
        rate_weight: squared error, of pixels of 0 to 255, that one bit is worth; 0 takes the tokenizer's own codes.
        scales: squared pixel error per squared latent error, for each level; see `tokenizer.distortion_scales`.
    """

    model: ImageTokenizer
    chances: CodeChances
    rate_weight: float
    scales: Sequence[float]

    def encode(self, pixel_values: torch.Tensor, num_levels: int) -> torch.Tensor:
        """(B, C, H, W) pictures -> (B, M) codes of their first levels, in the order of the stream."""
        return self.choose(pixel_values, num_levels).codes

    @torch.inference_mode()
    def choose(self, pixel_values: torch.Tensor, num_levels: int) -> ChosenCodes:
        """(B, C, H, W) pictures -> codes of their first levels, and their bits."""
        encoding, reader = self.model.encoding(pixel_values), self.chances.reader(len(pixel_values))
        bits = torch.zeros(len(pixel_values), device=pixel_values.device)
        columns: list[torch.Tensor] = []
        for level in range(num_levels):
            latents = encoding.next_latents()
            if self.rate_weight:
                codes = self._choose(level, latents, reader, bits)  # (B, h * w)
            else:
                codes = self.model.choose_codes(level, latents, encoding.context).flatten(1)
                _read(codes, reader, bits)
            columns.append(codes)
            encoding.take(self.model.embed_codes(level, codes.view(len(codes), *latents.shape[-2:])))
        return ChosenCodes(torch.cat(columns, 1), bits)

    def _choose(self, level: int, latents: torch.Tensor, reader: CodeReader, bits: torch.Tensor) -> torch.Tensor:
        """(B, h * w) codes of a level, whose bits are added to `bits`."""
        table, weight = self.model.code_vectors(level), self.rate_weight / self.scales[level]  # (K, D)
        points = latents.flatten(2).movedim(2, 0).float()  # (h * w, B, D)
        codes: list[torch.Tensor] = []
        for place in points:
            spent = -reader.chances().to(place).clamp(min=1e-30).log2()  # (B, K)
            chosen = (torch.cdist(place, table).square() + weight * spent).argmin(1)
            bits += spent.gather(1, chosen[:, None]).squeeze(1)
            codes.append(chosen)
            reader.append(chosen.cpu())
        return torch.stack(codes, 1)


def _read(codes: torch.Tensor, reader: CodeReader, bits: torch.Tensor) -> None:
    """Adds to (B,) `bits` those of (B, n) codes of a level that are known."""
    for column in codes.unbind(1):
        bits -= reader.chances().to(bits).gather(1, column[:, None]).squeeze(1).clamp(min=1e-30).log2()
        reader.append(column.cpu())


def cautious(trade: RateDistortion, pixel_values: torch.Tensor, num_levels: int, order: str) -> RateDistortion:
    """The trade with errors weighed as heavily as is best for J on some pictures; see `CAUTIONS`.

    Args:
        trade: with scales as they were measured.
        pixel_values: (B, C, H, W) pictures like those to encode.
        num_levels: levels that are kept.
        order: of the codes in the stream.
    """
    if not trade.rate_weight:
        return trade
    tried = [replace(trade, rate_weight=trade.rate_weight / caution) for caution in CAUTIONS]
    found = [_cost(candidate, trade.rate_weight, pixel_values, num_levels, order) for candidate in tried]
    return tried[found.index(min(found))]


def _cost(trade: RateDistortion, rate_weight: float, pixel_values: torch.Tensor, num_levels: int, order: str) -> float:
    """J of all pictures."""
    model, chosen = trade.model, trade.choose(pixel_values, num_levels)
    grids = model.config.grids(*pixel_values.shape[-2:])[:num_levels]
    decoded = model.decode(unflatten(chosen.codes, grids, order), num_levels)
    errors = (decoded - pixel_values).double().square().sum() * PIXEL_UNIT**2
    return float(errors + rate_weight * chosen.bits.sum())
