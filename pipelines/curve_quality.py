"""How near decoded pictures are to their originals, for a point of a curve."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..tokenizer.distortion import mean_squared_error, psnr
from ..tokenizer.ssim import WINDOW, ssim

_AT_ONCE = 256


@dataclass(frozen=True)
class Quality:
    """Figures over a set of pictures.

    Attributes:
        psnr: dB, of the mean over pictures of the mean squared error of 8-bit values.
        ssim: mean over pictures; None if one has a side below 11 pixels.
        squared_error: mean over pictures of the squared error summed over all values of 0 to 255.
    """

    psnr: float
    ssim: float | None
    squared_error: float


def picture_quality(originals: Iterable[torch.Tensor], decoded: Iterable[torch.Tensor]) -> Quality:
    """Compares pictures with their decodings.

    Args:
        originals: (H, W, C) each, or one (N, H, W, C); 8-bit values 0..255.
        decoded: the same shapes; rounded and clipped here, as they would be to save them.
    """
    errors: list[torch.Tensor] = []
    sums: list[torch.Tensor] = []
    similarities: list[torch.Tensor] = []
    for first, second in zip(_batches(originals), _batches(decoded), strict=True):
        second = second.round().clamp(0, 255)
        errors.append(mean_squared_error(first, second))
        sums.append(errors[-1] * first[0].numel())
        if min(first.shape[-2:]) >= WINDOW:
            similarities.append(ssim(first, second))
    has_windows = len(similarities) == len(errors)
    return Quality(
        psnr=psnr(float(torch.cat(errors).mean())),
        ssim=float(torch.cat(similarities).mean()) if has_windows else None,
        squared_error=float(torch.cat(sums).mean()),
    )


def _batches(pictures: Iterable[torch.Tensor]) -> Iterable[torch.Tensor]:
    """(B, C, H, W) float32, many at a time where they come as one tensor."""
    if isinstance(pictures, torch.Tensor):
        for part in pictures.split(_AT_ONCE):
            yield part.movedim(-1, 1).float()
    else:
        for picture in pictures:
            yield picture.movedim(-1, 0).unsqueeze(0).float()
