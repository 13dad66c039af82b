"""Scores: of a prior on codes, of a bundle on the names it learned."""

from __future__ import annotations

from typing import Any

from ..lm.bundle import Bundle
from ..lm.documents import image_to_text, images_to_ids, text_to_image
from ..lm.rate import Rate, measure_rate
from ..tokenizer.codes_dataset import CodesDataset, load_codes
from ..tokenizer.pixel_dataset import load_pixels
from .name_accuracy import measure_name_accuracy


def evaluate_prior(model: str, codes: str, split: str) -> dict[str, Any]:
    """Bits per document in both directions; see `Rate`."""
    bundle = Bundle.from_pretrained(model)
    dataset = load_codes(codes, split, codes_fingerprint=bundle.vocabulary.codes_fingerprint)
    return {direction: rate.to_dict() for direction, rate in prior_rates(bundle, dataset).items()}


def prior_rates(bundle: Bundle, codes: CodesDataset) -> dict[str, Rate]:
    """The rate of every row's first caption and codes, as text to image and as image to text."""
    vocabulary = bundle.vocabulary
    size = vocabulary.size_of(codes.shared_grids)
    image_ids = images_to_ids(vocabulary, codes.codes(range(len(codes))))
    captions = [bundle.text_tokenizer.encode(codes.captions(row)[0]) for row in range(len(codes))]
    pairs = list(zip(captions, image_ids, strict=True))
    documents = {
        "text_to_image": [text_to_image(vocabulary, caption, image, size) for caption, image in pairs],
        "image_to_text": [image_to_text(vocabulary, image, caption, size) for caption, image in pairs],
    }
    return {name: measure_rate(bundle.prior, bundle.grammar, group) for name, group in documents.items()}


def evaluate_names(
    model: str, data: str, split: str, seed: int, guidance_scale: float, num_captions: int
) -> dict[str, Any]:
    """How often a sample's nearest training picture bears its caption; see `NameAccuracy`."""
    bundle = Bundle.from_pretrained(model)
    dataset, _ = load_pixels(data, split, bundle.image_processor)
    accuracy = measure_name_accuracy(
        bundle, dataset, seed=seed, num_captions=num_captions, guidance_scale=guidance_scale
    )
    return accuracy.to_dict()
