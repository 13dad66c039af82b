"""How good an image tokenizer is, in brief: what a training run says of itself at its end.

`tokenizer/report.py` says more, and takes longer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from .code_statistics import entropy
from .distortion import Distortion, DistortionMeter
from .interface import TokenizesImages
from .pixel_dataset import PixelDataset
from .reconstructions import reconstruct


@dataclass(frozen=True)
class TokenizerEvaluation:
    """Figures over a set of pictures.

    Attributes:
        num_images: pictures measured.
        distortion: of every prefix of levels, without SSIM.
        usage: share of each level's codes that occur at all, 0..1.
        perplexity: 2 to the entropy of each level's code histogram, 1..K.
        static_bits: bits per image and level under one histogram per level.
    """

    num_images: int
    distortion: Distortion
    usage: list[float]
    perplexity: list[float]
    static_bits: list[float]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, in one level: `psnr` and `mean_psnr` beside the others, without what was not measured."""
        figures = asdict(self) | self.distortion.to_dict()
        return {name: value for name, value in figures.items() if name not in ("distortion", "ssim")}


def evaluate_tokenizer(
    model: TokenizesImages,
    dataset: PixelDataset,
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> TokenizerEvaluation:
    """Encodes all pictures of `dataset` and decodes them from every prefix of levels.

    Args:
        model: in evaluation mode.
        dataset: pictures of one size.
        batch_size: pictures at a time; no figure depends on it beyond the rounding inside the model.
        progress: called with the number of pictures done since the last call.
    """
    distortion = DistortionMeter(with_ssim=False)
    histograms = [torch.zeros(size, dtype=torch.int64) for size in model.config.codebook_sizes]
    for batch in reconstruct(model, dataset, batch_size=batch_size, progress=progress):
        distortion.add(batch)
        for histogram, level in zip(histograms, batch.codes, strict=True):
            histogram += torch.bincount(level.flatten(), minlength=len(histogram))
    entropies = [entropy(histogram) for histogram in histograms]
    return TokenizerEvaluation(
        num_images=len(dataset),
        distortion=distortion.result(),
        usage=[float((histogram > 0).double().mean()) for histogram in histograms],
        perplexity=[2**bits for bits in entropies],
        static_bits=[bits * (int(h.sum()) / len(dataset)) for bits, h in zip(entropies, histograms, strict=True)],
    )
