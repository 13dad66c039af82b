"""How many pixel errors one latent error of a level stands for: measured, so that bits can be weighed against both."""

from __future__ import annotations

import torch

from ..hub.errors import InputError
from .batches import derived_generator
from .interface import ImageCodes, TokenizesImages
from .model import ImageTokenizer
from .rate_model import PIXEL_UNIT

_SWAPPED_SHARE = 0.125
_SWAPPED_RANK = 3
"""The share of codes that are replaced at once, and by which neighbour, counted from the nearest."""

_LEAST_SCALE = 1e-6

SIDE_BY_SIDE = 3.0
"""How many times as much latent errors cost if bits cause them: they lie side by side, all towards what is likely, and
add up where pixels depend on several codes. 2 to 6 times were measured; see docs/log.md."""


@torch.inference_mode()
def distortion_scales(
    model: TokenizesImages, pixel_values: torch.Tensor, num_levels: int, seed: int = 0
) -> list[float]:
    """Squared pixel error per squared latent error, for each of the first levels, of errors here and there.

    Some codes of a level are replaced by vectors a little further away, finer levels are chosen anew, and what the
    pictures lose is compared with what the latents lost. Errors side by side cost more, see `SIDE_BY_SIDE`.

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
            rows = _some(len(latents), latents[0, 0].numel(), derived_generator(seed, "swapped", level))
            rows = rows.to(points.device)
            chosen = torch.where(rows, order[:, rank], chosen)
            added = float((least[:, rank] - least[:, 0])[rows].sum())
        codes.append(chosen.view(-1, *grid))
        encoding.take(model.embed_codes(level, codes[-1]))
    return tuple(codes), added


def _some(num_pictures: int, num_cells: int, generator: torch.Generator) -> torch.Tensor:
    """(num_pictures * num_cells,) bool: of each picture as many cells, one at least."""
    count = max(1, round(_SWAPPED_SHARE * num_cells))
    cells = torch.rand(num_pictures, num_cells, generator=generator).argsort(1)[:, :count]
    return torch.zeros(num_pictures, num_cells, dtype=torch.bool).scatter_(1, cells, True).flatten()


def _pixel_errors(model: ImageTokenizer, codes: ImageCodes, pixel_values: torch.Tensor, num_levels: int) -> float:
    """Squared errors of all pictures, in steps of 0 to 255."""
    return float((model.decode(codes, num_levels) - pixel_values).square().sum()) * PIXEL_UNIT**2
