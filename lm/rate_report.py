"""The rate of a prior over pictures: what codes and captions cost, alone and given each other, with intervals.

What the words tell about a picture is the bits that its codes cost less behind them; what the picture tells about the
words, the bits that the caption costs less. Both estimate the mutual information of pictures and words under the prior,
and need not agree: a prior learns the two directions apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch

from .estimates import Estimate, estimate
from .image_bits import DOCUMENT_KINDS, ImageBits


@dataclass(frozen=True)
class PictureShape:
    """What bits are counted in.

    Attributes:
        codes_per_level: number of codes of each level in one picture, coarse to fine.
        pixel_channels: height * width * channels of the picture that the tokenizer sees.
    """

    codes_per_level: Sequence[int]
    pixel_channels: int


@dataclass(frozen=True)
class CodesRate:
    """Bits of codes.

    Attributes:
        per_image: of all levels.
        per_level: of each level, coarse to fine.
        per_code: of each level, per code.
        per_pixel_channel: of all levels, per value of the picture that the tokenizer sees.
    """

    per_image: Estimate
    per_level: list[Estimate]
    per_code: list[Estimate]
    per_pixel_channel: Estimate


@dataclass(frozen=True)
class CaptionRate:
    """Bits of captions.

    Attributes:
        per_caption: of the text and the token that ends it.
        per_byte: the same over the captions' lengths in UTF-8, to which the end adds nothing.
    """

    per_caption: Estimate
    per_byte: Estimate


@dataclass(frozen=True)
class DocumentRate:
    """Bits per document of each kind."""

    text_to_image: Estimate
    image_to_text: Estimate
    unconditional: Estimate


@dataclass(frozen=True)
class RateReport:
    """Rates over some pictures, or differences of rates.

    Attributes:
        codes_given_caption: codes behind the caption.
        codes: codes behind `<null>`.
        told_by_caption: `codes - codes_given_caption`, paired.
        caption_given_codes: captions behind the codes.
        caption: captions by themselves.
        told_by_codes: `caption - caption_given_codes`, paired.
        illegal: bits that the stock softmax would spend beyond the legal ids.
        layout: bits for the kind of the document, which belong to no caption and no picture.
    """

    codes_given_caption: CodesRate
    codes: CodesRate
    told_by_caption: CodesRate
    caption_given_codes: CaptionRate
    caption: CaptionRate
    told_by_codes: CaptionRate
    illegal: DocumentRate
    layout: DocumentRate

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return _to_json(self)


def report_rates(bits: ImageBits, shape: PictureShape) -> RateReport:
    """The figures of some pictures. Of `a.minus(b)` it gives the paired differences between two priors.

    Args:
        bits: of the pictures.
        shape: of a picture.
    """

    def codes(levels: torch.Tensor) -> CodesRate:
        per_level = list(zip(levels.unbind(1), shape.codes_per_level, strict=True))
        return CodesRate(
            per_image=estimate(levels.sum(1)),
            per_level=[estimate(level) for level, _ in per_level],
            per_code=[estimate(level, count) for level, count in per_level],
            per_pixel_channel=estimate(levels.sum(1), shape.pixel_channels),
        )

    def caption(values: torch.Tensor) -> CaptionRate:
        return CaptionRate(estimate(values), estimate(values, bits.caption_bytes))

    def documents(values: torch.Tensor) -> DocumentRate:
        return DocumentRate(*(estimate(values[:, kind]) for kind in range(len(DOCUMENT_KINDS))))

    return RateReport(
        codes_given_caption=codes(bits.codes_given_caption),
        codes=codes(bits.codes),
        told_by_caption=codes(bits.codes - bits.codes_given_caption),
        caption_given_codes=caption(bits.caption_given_codes),
        caption=caption(bits.caption),
        told_by_codes=caption(bits.caption - bits.caption_given_codes),
        illegal=documents(bits.illegal),
        layout=documents(bits.layout),
    )


def unpaired_difference(first: RateReport, second: RateReport) -> RateReport:
    """The differences of all figures of two reports over different pictures."""
    return _difference(first, second)


def _difference(first: Any, second: Any) -> Any:
    if isinstance(first, Estimate):
        return first.minus(second)
    if isinstance(first, list):
        return [_difference(one, other) for one, other in zip(first, second, strict=True)]
    names = [field.name for field in fields(first)]
    return type(first)(*(_difference(getattr(first, name), getattr(second, name)) for name in names))


def _to_json(part: Any) -> Any:
    if isinstance(part, Estimate):
        return part.to_dict()
    if isinstance(part, list):
        return [_to_json(item) for item in part]
    return {field.name: _to_json(getattr(part, field.name)) for field in fields(part)}
