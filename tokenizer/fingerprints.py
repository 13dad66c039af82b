"""The two fingerprints of an image tokenizer: what decides its codes, and what decides its pictures."""

from __future__ import annotations

from typing import Any

from ..hub.fingerprint import fingerprint
from .image_processor import ImageTokenizerImageProcessorPil
from .model import ImageTokenizer

_ENCODER_SETTINGS = ("num_channels", "strides", "codebook_sizes", "codebook_dim", "patch_size")
_PROCESSOR_SETTINGS = (
    "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor", "do_normalize",
    "image_mean", "image_std", "do_convert_rgb", "background",
)  # fmt: skip


def codes_fingerprint(model: ImageTokenizer, processor: ImageTokenizerImageProcessorPil) -> str:
    """Preprocessing, encoder and codebooks: equal fingerprints give equal codes. Guards datasets of codes and priors.

    The codebooks' running statistics do not count: they matter to training only.
    """
    tensors = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("encoder.") or name.endswith("embedding.weight")
    }
    return fingerprint(tensors, _settings(model) | {"preprocessing": preprocessing(processor)})


def decoder_fingerprint(model: ImageTokenizer) -> str:
    """Codebooks and decoder: equal fingerprints give equal pictures from equal codes."""
    # The training size is that of a picture drawn from the whole-image code alone.
    tensors = {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("decoder.") or name.endswith("embedding.weight")
    }
    return fingerprint(tensors, _settings(model) | {"image_size": model.config.image_size})


def preprocessing(processor: ImageTokenizerImageProcessorPil) -> dict[str, Any]:
    """The processor's settings that change pixels."""
    settings = processor.to_dict()
    return {name: settings[name] for name in _PROCESSOR_SETTINGS if settings.get(name) is not None}


def _settings(model: ImageTokenizer) -> dict[str, Any]:
    return {name: getattr(model.config, name) for name in _ENCODER_SETTINGS}
