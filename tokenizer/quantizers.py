"""From a configuration to the quantizer of each level."""

from __future__ import annotations

from .config import ImageTokenizerConfig
from .ema_codebook import EMACodebook
from .fsq import FSQ
from .l2_codebook import L2Codebook
from .lfq import LFQ
from .quantizer import Quantizer


def build_quantizer(config: ImageTokenizerConfig, level: int) -> Quantizer:
    """The quantizer of one level, untrained.

    Raises:
        InputError: FSQ or LFQ cannot have a codebook of this size.
    """
    size, gradient = config.codebook_sizes[level], config.gradient_estimator
    if config.quantizer == "fsq":
        return FSQ(size, gradient=gradient)
    if config.quantizer == "lfq":
        return LFQ(size, entropy_weight=config.entropy_weight, gradient=gradient)
    codebook = EMACodebook if config.quantizer == "ema" else L2Codebook
    return codebook(
        size,
        config.codebook_dim,
        decay=config.codebook_decay,
        revival_threshold=config.revival_threshold,
        gradient=gradient,
    )
