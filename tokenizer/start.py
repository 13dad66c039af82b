"""What a training starts from: a new model, or one trained before, of which parts may stay as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..hub.errors import InputError
from .config import ImageTokenizerConfig
from .fingerprints import codes_fingerprint, decoder_fingerprint
from .image_processor import ImageTokenizerImageProcessorPil
from .loading import load_image_tokenizer
from .model import ImageTokenizer
from .training_config import TokenizerTrainingConfig

SYMBOL_TENSORS = ("encoder.image_features.", "encoder.to_latents.0.", "codebooks.0.")
"""Beginnings of the names of what decides whole-image codes, where these have features of their own."""

_PREFIXES = {
    "encoder": ("encoder.", "rate_model."),
    "codebook": ("codebooks.",),
    "decoder": ("decoder.",),
    "symbols": SYMBOL_TENSORS,
}


@dataclass(frozen=True)
class TrainingStart:
    """The model a training starts from.

    Attributes:
        config: of the model.
        processor: makes its pixels.
        found: the tokenizer to go on from; None starts anew.
        frozen_parts: names of the parts that get no gradient, of `FROZEN_PARTS`.
        earlier: trainings of the tokenizer to go on from, see `Provenance.earlier`.
    """

    config: ImageTokenizerConfig
    processor: ImageTokenizerImageProcessorPil
    found: ImageTokenizer | None = None
    frozen_parts: list[str] = field(default_factory=list)
    earlier: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_trained(self) -> bool:
        """Whether the codebooks hold something already."""
        return self.found is not None

    def model(self) -> ImageTokenizer:
        """The model on the CPU, new weights drawn from torch's global generator."""
        model = ImageTokenizer(self.config)
        if self.found is not None:
            model.load_state_dict(self.found.state_dict(), strict=self.found.rate_model is not None)
        for name, parameter in model.named_parameters():
            if name.startswith(tuple(prefix for part in self.frozen_parts for prefix in _PREFIXES[part])):
                parameter.requires_grad_(False)
        return model

    def settings(self) -> dict[str, Any]:
        """What a resumed run must agree on: it goes on only from the very model it began with."""
        if self.found is None:
            return {}
        made_by = codes_fingerprint(self.found, self.processor)
        return {"start": [made_by[:16], decoder_fingerprint(self.found)[:16]]}


def new_start(config: TokenizerTrainingConfig) -> TrainingStart:
    """Reads `config.start_from`, if there is one.

    Raises:
        InputError: no tokenizer there, or one of another system or shape, or that reads other pixels, or whose
            provenance is another model's.
    """
    if not config.start_from:
        kept = ["symbols"] if config.symbol_steps else []
        return TrainingStart(config.model_config(), config.image_processor(), frozen_parts=kept)
    found = load_image_tokenizer(config.start_from)
    if not isinstance(found.model, ImageTokenizer):
        raise InputError(f"{config.start_from} holds another system's tokenizer, which cannot be trained on here")
    continued = config.continued_config(found.model.config)
    processor = config.continued_processor(found.processor)
    if "symbols" in config.frozen_parts and not continued.own_image_features:
        raise InputError(f"freeze names symbols, but those of {config.start_from} have no features of their own")
    return TrainingStart(continued, processor, found.model, config.frozen_parts, found.history())
