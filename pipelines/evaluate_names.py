"""The score of a bundle on the names it learned."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..lm.bundle import Bundle
from ..lm.image_sampler import ImageSampling
from ..tokenizer.pixel_dataset import load_pixels
from .name_accuracy import measure_name_accuracy


def evaluate_names(
    model: str, data: str, split: str, seed: int, guidance_scale: float, num_captions: int
) -> dict[str, Any]:
    """How often a sample's nearest training picture bears its caption; see `NameAccuracy`."""
    bundle = Bundle.from_pretrained(model)
    dataset, _ = load_pixels(data, split, bundle.image_processor)
    accuracy = measure_name_accuracy(
        bundle, dataset, seed=seed, num_captions=num_captions, guidance_scale=guidance_scale
    )
    own = ImageSampling(guidance_scale=guidance_scale).of_model(bundle.image_generation_config)
    return accuracy.to_dict() | {"data": data, "split": split, "seed": seed, "sampling": asdict(own)}
