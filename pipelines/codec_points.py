"""Settings of a codec as points of a curve: what its files weigh, and how near their pictures are to the originals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from ..lm.bundle import Bundle
from ..lm.codec_model import PriorModel, StaticModel
from ..tokenizer.fingerprints import decoder_fingerprint
from .curve_pictures import common_mode, tensors
from .curve_points import Point
from .curve_quality import picture_quality
from .image_codec import ImageCodec


@dataclass(frozen=True, kw_only=True)
class CodecPoint(Point):
    """One setting of an `ImageCodec`, whose `bytes` are those of real files.

    Attributes:
        model: the bundle.
        num_levels: levels of codes that are kept.
        rate_weight: of the choice of codes; see `ImageCodec.compress`.
        is_static: written with counted tables.
        model_bytes: per picture, what the codes take by the model, without rounding.
        payload_bytes: per picture, of the streams.
        squared_error: summed over a picture's values of 0 to 255, mean over pictures.
    """

    model: str
    num_levels: int
    rate_weight: float
    is_static: bool
    model_bytes: float
    payload_bytes: float
    squared_error: float

    def cost(self, weight: float) -> float:
        """J = D + weight * R: squared error of a picture and the bits of its share of the file."""
        return self.squared_error + weight * 8 * self.bytes


@dataclass(frozen=True)
class CodecSetting:
    """What a codec is told; see `ImageCodec.compress`."""

    num_levels: int
    rate_weight: float = 0.0
    is_static: bool = False

    def __str__(self) -> str:
        parts = [f"{self.num_levels} levels", f"rate weight {self.rate_weight:g}" * bool(self.rate_weight)]
        return ", ".join(filter(None, [*parts, "counted tables" * self.is_static]))


def codec_settings(bundle: Bundle, rate_weights: Sequence[float]) -> list[CodecSetting]:
    """All settings of a bundle: every prefix of levels with every weight, and the counted tables if there are any.

    Where the order of codes does not let levels be left out, or the tokenizer's codes cannot be chosen by their bits,
    there is one setting.
    """
    config, by_level = bundle.image_tokenizer.config, bundle.vocabulary.order == "level"
    levels = range(1, config.num_levels + 1) if by_level else [config.num_levels]
    weights = rate_weights if by_level and chooses(bundle) else [0.0]
    settings = [CodecSetting(kept, weight) for kept in levels for weight in weights]
    tables = [CodecSetting(config.num_levels, is_static=True)] if bundle.static_chances is not None else []
    return settings + tables


def chooses(bundle: Bundle) -> bool:
    """Whether codes can be chosen by rate and distortion: for that the tokenizer must encode level by level."""
    return hasattr(bundle.image_tokenizer, "encoding")


def codec_point(
    codec: ImageCodec, images: Sequence[Image.Image], setting: CodecSetting, *, apart: bool = False
) -> CodecPoint:
    """Compresses pictures, reads the file again, and compares. Whose curve the point is on is left open.

    Args:
        codec: of a bundle.
        images: in mode "L" or "RGB".
        setting: for all of them.
        apart: every picture in a file of its own, else all in one archive.
    """
    options = {
        "num_levels": setting.num_levels,
        "rate_weight": setting.rate_weight,
        "static": setting.is_static,
        "verify": False,  # what comes out is read below
    }
    files = [codec.compress(part, **options) for part in (images if apart else [images])]
    decoded = [image for file in files for image in codec.decompress(file.data).images]
    mode, count = common_mode(images), len(images)
    quality = picture_quality(tensors(images, mode), tensors(decoded, mode))
    return CodecPoint(
        codec="",
        setting=str(setting),
        bytes=sum(len(file.data) for file in files) / count,
        psnr=quality.psnr,
        ssim=quality.ssim,
        model=codec.bundle.name,
        num_levels=setting.num_levels,
        rate_weight=setting.rate_weight,
        is_static=setting.is_static,
        model_bytes=sum(file.model_bits for file in files) / 8 / count,
        payload_bytes=sum(file.payload_bytes for file in files) / count,
        squared_error=quality.squared_error,
    )


def bundle_key(bundle: Bundle, *, is_static: bool = False) -> str:
    """Tells bundles whose files or pictures differ from each other."""
    model = StaticModel(bundle) if is_static else PriorModel(bundle)
    return f"{model.model_id.hex()} {decoder_fingerprint(bundle.image_tokenizer)[:8]}"


def reader_bytes(bundle: Bundle) -> int:
    """Bytes of the weights that a reader of files needs: the prior, the codebooks and the decoder."""
    parts = [*bundle.prior.parameters(), *bundle.image_tokenizer.picture_tensors().values()]  # tied weights count once
    return sum(part.numel() * part.element_size() for part in parts)
