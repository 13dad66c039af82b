"""Untrained bundles around any tiny image tokenizer."""

from typing import Any

from tiny_chain import prior, text_tokenizer
from tiny_model import make

from pictogram.lm.bundle import Bundle
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil

DEEP = ["image", 8, 4]
"""Of a picture of 16x16 pixels 1 + 4 + 16 codes."""


def bundle_around(
    strides: list[int | str],
    order: str = "level",
    *,
    sizes: tuple[tuple[int, int], ...] = ((16, 16),),
    settings: dict[str, Any] | None = None,
    **processor: Any,
) -> Bundle:
    """A bundle for pictures of these heights and widths; its prior is float64, so that nothing hangs on rounding."""
    model = make(strides=strides, **settings or {})
    defaults: dict[str, Any] = {"size": {"height": 16, "width": 16}}
    images = ImageTokenizerImageProcessorPil(**(defaults | processor))
    vocabulary = JointVocabulary.from_scratch(
        text_tokenizer().vocab_size,
        model.config.codebook_sizes,
        [model.config.grids(*size) for size in sizes],
        order,
        codes_fingerprint=codes_fingerprint(model, images),
        decoder_fingerprint=decoder_fingerprint(model),
    )
    return Bundle(prior(vocabulary).double(), vocabulary, text_tokenizer(), model, images)
