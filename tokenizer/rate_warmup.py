"""How the rate comes to count while a tokenizer learns: its weight grows, and errors are weighed anew now and then."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch

from .distortion_scales import SIDE_BY_SIDE, distortion_scales
from .ema_codebook import EMACodebook
from .model import ImageTokenizer
from .training_config import TokenizerTrainingConfig

NUM_WEIGHED = 16
"""Pictures that errors are measured on."""

_STEPS_BETWEEN = 50

_SHARE_OF_NEW = 0.2
"""What a measurement counts beside those before it."""


def weigh_rate(
    model: ImageTokenizer, step: int, config: TokenizerTrainingConfig, pictures: Callable[[], torch.Tensor]
) -> None:
    """Sets what the rate is worth on a step; does nothing where bits do not count.

    The weight grows with the square of the steps over the first `rate_warmup` of them: codes that nobody has learned to
    use yet would not be worth their bits, and never would be. While it grows dead codes are revived as ever; afterwards
    a code that costs too many bits may fall out of use. A frozen encoder chooses as it did: neither weight nor scales
    change.

    Args:
        model: unwrapped.
        step: counted from 0.
        config: of the training.
        pictures: gives (`NUM_WEIGHED`, C, H, W) pixels of this step, the same on every process.
    """
    rate_model = model.rate_model
    if rate_model is None:
        return
    warm_steps = config.rate_warmup * config.num_steps
    is_frozen = "encoder" in config.frozen_parts
    rate_model.warmth = 1.0 if is_frozen else min(1.0, (step + 1) / max(1.0, warm_steps)) ** 2
    if step > warm_steps:
        for codebook in model.codebooks:
            cast(EMACodebook, codebook).revival_threshold = 0.0
    if step % _STEPS_BETWEEN == 0 and not is_frozen:
        found = distortion_scales(model, pictures(), model.config.num_levels, seed=config.seed + step)
        measured = SIDE_BY_SIDE * torch.tensor(found, device=rate_model.scales.device)
        rate_model.scales.lerp_(measured, 1.0 if step == 0 else _SHARE_OF_NEW)
