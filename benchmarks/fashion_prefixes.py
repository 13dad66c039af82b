"""Where samples lose their score: classifiers learn from pictures whose first codes are real and the others drawn.

python benchmarks/fashion_prefixes.py --model bundle --data fashion --split validation --given 0,1,15,29,43,50

With no code given these are samples, with all of them decoded pictures; in between the prior goes on where a training
picture's codes end. Every arm has the same classes, and its classifier the same recipe and seed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from interleaved import print_report

from pictogram import InputError
from pictogram.hub.command_line import whole_numbers
from pictogram.lm.bundle import Bundle
from pictogram.lm.image_sampler import DRAWN, ImageSampling
from pictogram.lm.order import flatten, unflatten
from pictogram.pipelines.labelled_pictures import LabelledPictures, labelled_pictures, with_same_classes
from pictogram.pipelines.picture_drawing import draw_pictures
from pictogram.pipelines.picture_request import PictureRequest, spell_seeds
from pictogram.pipelines.sample_arms import PictureArm, balanced_rows, one_box, real_arm
from pictogram.pipelines.sample_classifier import ClassifierRecipe, train_classifier
from pictogram.tokenizer.image_processor import to_8bit
from pictogram.tokenizer.padding import Box
from pictogram.tokenizer.reconstructions import row_batches

_AT_ONCE = 250


def training_ids(bundle: Bundle, pictures: LabelledPictures, rows: Sequence[int]) -> torch.Tensor:
    """(N, n) ids of pictures' codes in document order."""
    parts = []
    with torch.inference_mode():
        for part in row_batches(len(rows), _AT_ONCE):
            codes = bundle.image_tokenizer.encode(pictures.dataset.pixels([rows[place] for place in part]))
            ids = tuple(bundle.vocabulary.codes_to_ids(level, grid) for level, grid in enumerate(codes))
            parts.append(flatten(ids, bundle.vocabulary.order))
    return torch.cat(parts)


def decoded(bundle: Bundle, size: str, ids: torch.Tensor, box: Box) -> Iterator[torch.Tensor]:
    """Pictures (B, C, H, W) uint8 of ids in document order, some at a time."""
    vocabulary = bundle.vocabulary
    with torch.inference_mode():
        for part in ids.split(_AT_ONCE):
            grids = unflatten(part, vocabulary.grids(size), vocabulary.order)
            codes = tuple(grid - int(vocabulary.codes_to_ids(level, 0)) for level, grid in enumerate(grids))
            yield box.of(to_8bit(bundle.image_tokenizer.decode(codes))).to(torch.uint8)


def drawn_arm(
    bundle: Bundle, names: Sequence[str], ids: torch.Tensor, classes: torch.Tensor, num_given: int, seed: int, box: Box
) -> PictureArm:
    """Pictures whose first `num_given` codes are those of `ids` (N, n) and whose others are drawn."""
    size = next(iter(bundle.vocabulary.sizes))
    given = ids.clone()
    given[:, num_given:] = DRAWN
    prompts = [names[int(number)] for number in classes]
    request = PictureRequest(prompts, spell_seeds(seed, len(prompts)), size, given)
    found = ids if num_given == ids.shape[1] else draw_pictures(bundle, request, ImageSampling(), _AT_ONCE).token_ids
    return PictureArm(torch.cat(list(decoded(bundle, size, found, box))), classes)


def measure(
    model: str, data: str, split: str, given: Sequence[int], num_images: int, recipe: ClassifierRecipe, seed: int
) -> dict[str, Any]:
    """Accuracies on real pictures of `split`, one for each number of given codes.

    Raises:
        InputError: numbers of codes that a picture cannot have, or pictures that do not serve.
    """
    bundle = Bundle.from_pretrained(model)
    sets = (labelled_pictures(data, name, bundle.image_processor) for name in ("train", split))
    learned, measured = with_same_classes(*sets)
    names, box = list(learned.labels.names), one_box(learned.dataset)
    rows = balanced_rows(learned.classes, num_images, len(names), seed)
    ids, classes = training_ids(bundle, learned, rows), learned.classes[torch.tensor(rows)]
    if not given or not all(0 <= count <= ids.shape[1] for count in given):
        raise InputError(f"given must be numbers of codes, 0 to the {ids.shape[1]} of a picture, got {list(given)}")
    test, report = real_arm(measured, box), []
    for count in given:
        arm = drawn_arm(bundle, names, ids, classes, count, seed, box)
        classifier = train_classifier(arm.pixels, arm.classes, len(names), seed, recipe, title=f"{count} given")
        right = (classifier.classify(test.pixels) == test.classes).double()
        per_class = [right[test.classes == number].mean().item() for number in range(len(names))]
        report.append({"given": count, "accuracy": right.mean().item(), "per_class": per_class})
    protocol = {"split": split, "num_images": len(rows), "num_measured": len(test), "seed": seed}
    return protocol | {"num_steps": recipe.num_steps, "classes": list(names), "arms": report}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundle", help="bundle that draws the rest")
    parser.add_argument("--data", default="fashion", help="folder of fashion_splits.py")
    parser.add_argument("--split", default="validation", help="real pictures that classifiers are tested on")
    parser.add_argument("--given", default="0,1,15,29,43,50", help="codes of a training picture that are kept")
    parser.add_argument("--num-images", type=int, default=10_000)
    parser.add_argument("--num-steps", type=int, default=ClassifierRecipe.num_steps, help="of every classifier")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the report")
    asked = parser.parse_args(arguments)
    recipe = replace(ClassifierRecipe(), num_steps=asked.num_steps)
    try:
        given = whole_numbers("given", asked.given)
        report = measure(asked.model, asked.data, asked.split, given, asked.num_images, recipe, asked.seed)
    except InputError as error:
        parser.error(str(error))
    print_report(report, asked.json)


if __name__ == "__main__":
    main()
