"""The score of a bundle on the names it learned."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..hub.files import check_new_folder, write_json
from ..lm.bundle import Bundle
from ..lm.image_sampler import ImageSampling
from ..tokenizer.pictures import save_picture
from ..tokenizer.pixel_dataset import load_pixels
from .name_accuracy import measure_names
from .name_grid import accuracy_by_group, grouped, mistaken, sample_grid


def evaluate_names(
    model: str,
    data: str,
    split: str,
    seed: int,
    guidance_scale: float,
    num_captions: int,
    *,
    column: str | None = None,
    output: Path | None = None,
) -> dict[str, Any]:
    """How often a sample's nearest training picture bears its caption; see `NameAccuracy`.

    Args:
        model: a bundle.
        data: the pictures that it was trained on.
        split: of them.
        seed: see `measure_names`, like the next two.
        guidance_scale: of the main figure.
        num_captions: captions to try.
        column: of class labels or texts; `groups` of the result then says the accuracy of each.
        output: folder for `names.png`, see `sample_grid`, and `mistakes.json`, see `mistaken`.

    Raises:
        InputError: the column is missing or holds neither, `output` is a file, or see `measure_names`.
    """
    if output is not None:
        check_new_folder(output)
    bundle = Bundle.from_pretrained(model)
    dataset, _ = load_pixels(data, split, bundle.image_processor)
    labels = None if column is None else dataset.source.class_labels(column)
    found = measure_names(bundle, dataset, seed=seed, num_captions=num_captions, guidance_scale=guidance_scale)
    groups = None if labels is None else grouped(found.samples, labels)
    if output is not None:
        save_picture(sample_grid(found.samples, groups), output / "names.png")
        write_json(output / "mistakes.json", {"mistakes": mistaken(found.samples)})
    own = ImageSampling(guidance_scale=guidance_scale).of_model(bundle.image_generation_config)
    report = found.accuracy.to_dict() | {"data": data, "split": split, "seed": seed, "sampling": asdict(own)}
    return report | ({} if groups is None else {"groups": accuracy_by_group(found.samples, groups)})
