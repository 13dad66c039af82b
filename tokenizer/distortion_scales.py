"""How many pixel errors one latent error of a level stands for: measured, so that bits can be weighed against both."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ..hub.errors import InputError
from .batches import derived_generator
from .encoding import Encoding
from .interface import ImageCodes, TokenizesImages
from .model import ImageTokenizer
from .rate_model import PIXEL_UNIT

_SWAPPED_SHARE = 0.125
_SWAPPED_RANK = 3
"""The share of codes that are replaced at once, and by which neighbour, counted from the nearest."""

_LEAST_SCALE = 1e-6

_MOST_TOGETHER = 8.0
"""Times what errors cost apart that they may cost side by side: 2 to 6 times were seen."""


@torch.inference_mode()
def distortion_scales(
    model: TokenizesImages, pixel_values: torch.Tensor, num_levels: int, seed: int = 0
) -> list[float]:
    """Squared pixel error per squared latent error, for each of the first levels, of errors here and there.

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

    def swap(level: int, latents: torch.Tensor, encoding: Encoding, distances: torch.Tensor) -> torch.Tensor:
        order = distances.topk(min(_SWAPPED_RANK + 1, distances.shape[1]), largest=False).indices
        rows = _some(len(latents), latents[0, 0].numel(), derived_generator(seed, "swapped", level))
        return torch.where(rows.to(order.device), order[:, -1], order[:, 0])

    return _scales(model, pixel_values, num_levels, swap)


@torch.inference_mode()
def chosen_scales(model: ImageTokenizer, pixel_values: torch.Tensor, num_levels: int) -> list[float]:
    """The same of the errors that choosing by bits makes; the least scale for levels where it changes no code.

    Such errors lie side by side, all towards what is likely, and add up where pixels depend on several codes: measured,
    they cost 2 to 6 times as much as those of `distortion_scales`.

    Args:
        model: with a model of the rate.
        pixel_values: (B, C, H, W) in [-1, 1], some pictures.
        num_levels: levels that pictures are decoded from.
    """

    def choose(level: int, latents: torch.Tensor, encoding: Encoding, distances: torch.Tensor) -> torch.Tensor:
        return model.choose_codes(level, latents, encoding.context).flatten()

    return _scales(model, pixel_values, num_levels, choose)


def measured_scales(model: ImageTokenizer, pixel_values: torch.Tensor, seed: int) -> torch.Tensor:
    """(L,) float32: what errors that bits cause cost in pixels, 1 to `_MOST_TOGETHER` times what they do apart.

    Measured at the full rate weight: at the start of a training bits change next to nothing, and a quotient of two
    small numbers is noise. That is also why it is bounded.

    Args:
        model: with or without a model of the rate.
        pixel_values: (B, C, H, W) in [-1, 1], some pictures.
        seed: see `distortion_scales`.
    """
    num_levels, rate_model = model.config.num_levels, model.rate_model
    apart = torch.tensor(distortion_scales(model, pixel_values, num_levels, seed=seed))
    if rate_model is None:
        return apart
    warmth, rate_model.warmth = rate_model.warmth, 1.0
    try:
        together = torch.tensor(chosen_scales(model, pixel_values, num_levels))
    finally:
        rate_model.warmth = warmth
    return together.clamp(apart, _MOST_TOGETHER * apart)


_Change = Callable[[int, torch.Tensor, Encoding, torch.Tensor], torch.Tensor]
"""Level, latents, encoding, (N, K) squared distances -> (N,) codes in the place of the nearest ones."""


def _scales(model: ImageTokenizer, pixel_values: torch.Tensor, num_levels: int, change: _Change) -> list[float]:
    pixel_values = pixel_values.to(model.device)
    nearest, _ = _encoded(model, pixel_values, num_levels, None, change)
    loss = _pixel_errors(model, nearest, pixel_values, num_levels)
    scales: list[float] = []
    for level in range(num_levels):
        codes, latent_loss = _encoded(model, pixel_values, num_levels, level, change)
        pixel_loss = _pixel_errors(model, codes, pixel_values, num_levels) - loss
        scales.append(max(_LEAST_SCALE, pixel_loss / max(latent_loss, 1e-12)))
    return scales


def _encoded(
    model: ImageTokenizer, pixel_values: torch.Tensor, num_levels: int, changed: int | None, change: _Change
) -> tuple[ImageCodes, float]:
    """Codes, those of one level changed and all others the nearest; and the squared latent error that this added."""
    encoding, codes, added = model.encoding(pixel_values), [], 0.0
    for level in range(num_levels):
        latents = encoding.next_latents()
        points = latents.flatten(2).transpose(1, 2).flatten(0, 1).float()  # (B * h * w, D)
        distances = torch.cdist(points, model.code_vectors(level)).square()
        least, chosen = distances.min(1)
        if level == changed:
            chosen = change(level, latents, encoding, distances)
            added = float((distances.gather(1, chosen[:, None]).squeeze(1) - least).sum())
        codes.append(chosen.view(-1, *latents.shape[-2:]))
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
