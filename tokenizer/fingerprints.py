"""The two fingerprints of an image tokenizer: what decides its codes, and what decides its pictures."""

from __future__ import annotations

from typing import Any

from ..hub.fingerprint import fingerprint
from .image_processor import ImageTokenizerImageProcessorPil
from .interface import TokenizesImages

_PROCESSOR_SETTINGS = (
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "do_convert_rgb", "background", "do_pad", "num_channels",
)  # fmt: skip
_LEFT_OUT = {"do_pad": False, "num_channels": 3}  # younger than the first fingerprints, which must stay what they are


def codes_fingerprint(model: TokenizesImages, processor: ImageTokenizerImageProcessorPil) -> str:
    """Preprocessing, encoder and codebooks: equal fingerprints give equal codes. Guards datasets of codes and priors.

    The codebooks' running statistics do not count: they matter to training only.
    """
    return fingerprint(model.codes_tensors(), model.codes_settings() | {"preprocessing": preprocessing(processor)})


def decoder_fingerprint(model: TokenizesImages) -> str:
    """Codebooks and decoder: equal fingerprints give equal pictures from equal codes."""
    return fingerprint(model.picture_tensors(), model.picture_settings())


def preprocessing(processor: ImageTokenizerImageProcessorPil) -> dict[str, Any]:
    """The processor's settings that change pixels."""
    settings = processor.to_dict()
    return {
        name: settings[name] for name in _PROCESSOR_SETTINGS if settings.get(name) not in (None, _LEFT_OUT.get(name))
    }
