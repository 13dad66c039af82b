"""Choosing codes by what they cost: J = D + rate_weight * R, code by code.

The nearest code vector is the best choice only if bits are free (entropy-constrained quantization, Chou, Lookabaugh and
Gray 1989). Here each code minimises its own share of J, given all codes before it: D is the squared error of pixels of
0 to 255, summed over the picture, R the bits by the model that will write the stream. How many pixel errors one latent
error stands for is measured on the pictures themselves, for each level, after finer levels were chosen anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from ..lm.code_chances import CodeChances, CodeReader
from ..lm.order import ImageCodes
from ..tokenizer.batches import derived_generator
from ..tokenizer.interface import TokenizesImages
from ..tokenizer.model import ImageTokenizer

_PIXEL_UNIT = 127.5
"""Steps of 0 to 255 in one unit of [-1, 1]."""

_SWAPPED_SHARE = 0.125
_SWAPPED_RANK = 3
"""The share of codes that are replaced at once, and by which neighbour, counted from the nearest."""

_LEAST_SCALE = 1e-6


@dataclass(frozen=True, eq=False)
class RateDistortion:
    """The trade between bits and errors.

    Attributes:
        model: whose latents are quantized.
        chances: of the codes, in the order "level"; float32 will do.
        rate_weight: squared error, of pixels of 0 to 255, that one bit is worth; 0 takes the nearest codes.
        scales: squared pixel error per squared latent error, for each level; see `distortion_scales`.
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
            encoding.take(_vectors(self.model, level, codes.view(len(codes), *latents.shape[-2:])))
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


@torch.inference_mode()
def distortion_scales(
    model: TokenizesImages, pixel_values: torch.Tensor, num_levels: int, seed: int = 0
) -> list[float]:
    """Squared pixel error per squared latent error, for each of the first levels.

    Some codes of a level are replaced by vectors a little further away, finer levels are chosen anew, and what the
    pictures lose is compared with what the latents lost.

    Args:
        model: an `ImageTokenizer`.
        pixel_values: (B, C, H, W) in [-1, 1], some pictures.
        num_levels: levels that pictures are decoded from.
        seed: of the codes that are replaced.

    Raises:
        InputError: another project's network, which shows no latents.
    """
    if not isinstance(model, ImageTokenizer):
        raise InputError(f"a rate weight needs an ImageTokenizer; {type(model).__name__} shows no latents to weigh")
    pixel_values = pixel_values.to(model.device)
    plain, _ = _swapped(model, pixel_values, num_levels, None, seed)
    loss = _pixel_errors(model, plain, pixel_values, num_levels)
    scales: list[float] = []
    for level in range(num_levels):
        codes, latent_loss = _swapped(model, pixel_values, num_levels, level, seed)
        pixel_loss = _pixel_errors(model, codes, pixel_values, num_levels) - loss
        scales.append(max(_LEAST_SCALE, pixel_loss / max(latent_loss, 1e-12)))
    return scales


def _swapped(
    model: ImageTokenizer, pixel_values: torch.Tensor, num_levels: int, swapped: int | None, seed: int
) -> tuple[ImageCodes, float]:
    """Codes with some of one level replaced, and the squared latent error that this added."""
    encoding, codes, added = model.encoding(pixel_values), [], 0.0
    for level in range(num_levels):
        latents = encoding.next_latents()
        grid = latents.shape[-2:]
        points = latents.flatten(2).transpose(1, 2).flatten(0, 1).float()  # (B * h * w, D)
        distances = torch.cdist(points, model.code_vectors(level)).square()
        rank = min(_SWAPPED_RANK, distances.shape[1] - 1)
        least, order = distances.topk(rank + 1, largest=False)
        chosen = order[:, 0]
        if level == swapped:
            generator = derived_generator(seed, "swapped", level)
            rows = torch.rand(len(points), generator=generator).to(points.device) < _SWAPPED_SHARE
            rows[0] = True
            chosen = torch.where(rows, order[:, rank], chosen)
            added = float((least[:, rank] - least[:, 0])[rows].sum())
        codes.append(chosen.view(-1, *grid))
        encoding.take(_vectors(model, level, codes[-1]))
    return tuple(codes), added


def _vectors(model: ImageTokenizer, level: int, codes: torch.Tensor) -> torch.Tensor:
    """(B, h, w) codes -> (B, D, h, w) vectors."""
    return model.code_vectors(level)[codes].movedim(-1, 1)


def _pixel_errors(model: ImageTokenizer, codes: ImageCodes, pixel_values: torch.Tensor, num_levels: int) -> float:
    """Squared errors of all pictures, in steps of 0 to 255."""
    return float((model.decode(codes, num_levels) - pixel_values).square().sum()) * _PIXEL_UNIT**2
