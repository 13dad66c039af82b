"""How good an image tokenizer is: distortion of every prefix of levels, and how its codebooks are used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .images import PixelDataset
from .model import ImageCodes, ImageTokenizer


@dataclass(frozen=True)
class TokenizerEvaluation:
    """Figures over a set of pictures.

    Attributes:
        num_images: pictures measured.
        psnr: dB per prefix of levels, coarse to fine, of the mean over pictures of the squared error of 8-bit values.
        usage: share of each level's codes that occur at all, 0..1.
        perplexity: 2 to the entropy of each level's code histogram, 1..K.
        static_bits: bits per image and level under one histogram per level.
    """

    num_images: int
    psnr: list[float]
    usage: list[float]
    perplexity: list[float]
    static_bits: list[float]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity: the PSNR of perfect copies is null there."""
        return asdict(self) | {"psnr": [value if math.isfinite(value) else None for value in self.psnr]}


def to_8bit(pixel_values: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> whole numbers 0..255, float32."""
    return ((pixel_values.float().clamp(-1, 1) + 1) * 127.5 + 0.5).floor()


def psnr(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of a mean squared error of 8-bit values; infinite for a perfect copy.

    Example:
        >>> round(psnr(65.025), 6)
        30.0
    """
    return 10 * math.log10(255**2 / mean_squared_error) if mean_squared_error else math.inf


@torch.no_grad()
def evaluate_tokenizer(
    model: ImageTokenizer,
    dataset: PixelDataset,
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> TokenizerEvaluation:
    """Encodes all pictures of `dataset` and decodes them from every prefix of levels.

    Args:
        model: in evaluation mode.
        dataset: pictures of one size.
        batch_size: pictures at a time; no figure depends on it beyond rounding.
        progress: called with the number of pictures done since the last call.
    """
    num_levels = model.config.num_levels
    squared_error = torch.zeros(num_levels, dtype=torch.float64)
    histograms = [torch.zeros(size, dtype=torch.int64) for size in model.config.codebook_sizes]
    for pixel_values in batches(dataset, batch_size):
        pixel_values = pixel_values.to(model.device)
        codes = model.encode(pixel_values)
        squared_error += _squared_error(model, pixel_values, codes)
        for histogram, level in zip(histograms, codes, strict=True):
            histogram += torch.bincount(level.flatten().cpu(), minlength=len(histogram))
        if progress:
            progress(len(pixel_values))
    entropies = [_entropy(histogram) for histogram in histograms]
    return TokenizerEvaluation(
        num_images=len(dataset),
        psnr=[psnr(error) for error in (squared_error / len(dataset)).tolist()],
        usage=[float((histogram > 0).double().mean()) for histogram in histograms],
        perplexity=[2**entropy for entropy in entropies],
        static_bits=[entropy * int(h.sum()) / len(dataset) for entropy, h in zip(entropies, histograms, strict=True)],
    )


def batches(dataset: PixelDataset, batch_size: int) -> Iterator[torch.Tensor]:
    """All pictures in order, as (B, C, H, W) batches."""
    for first in range(0, len(dataset), batch_size):
        yield dataset.pixels(range(first, min(first + batch_size, len(dataset))))


def _squared_error(model: ImageTokenizer, pixel_values: torch.Tensor, codes: ImageCodes) -> torch.Tensor:
    """(L,) float64: per prefix, the sum over pictures of the mean squared error of 8-bit values."""
    original = to_8bit(pixel_values)
    errors = []
    for num_levels in range(1, model.config.num_levels + 1):
        difference = to_8bit(model.decode(codes, num_levels)) - original
        errors.append(difference.double().square().mean((1, 2, 3)).sum())
    return torch.stack(errors).cpu()


def _entropy(histogram: torch.Tensor) -> float:
    """Bits per code of an empirical distribution."""
    shares = histogram[histogram > 0].double() / histogram.sum()
    return float(-(shares * shares.log2()).sum())
