"""Where samples lose their score: classifiers learn from pictures whose first codes are real and the others drawn.

python benchmarks/fashion_prefixes.py --model bundle --data fashion --split validation --given 0,1,15,29,43,50

With no code given these are samples, with all of them decoded pictures; in between the prior goes on where a training
picture's codes end. Every arm has the same classes, and its classifiers the same recipe and seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from interleaved import print_report

from pictogram import InputError
from pictogram.hub.command_line import whole_numbers
from pictogram.lm.bundle import Bundle
from pictogram.lm.documents import ids_to_images, images_to_ids
from pictogram.lm.image_sampler import DRAWN, ImageSampling
from pictogram.pipelines.bundle_pipeline import check_positive
from pictogram.pipelines.labelled_pictures import (
    LabelledPictures,
    check_other_pictures,
    labelled_pictures,
    with_same_classes,
)
from pictogram.pipelines.picture_drawing import draw_pictures
from pictogram.pipelines.picture_request import PictureRequest, spell_seeds
from pictogram.pipelines.sample_arms import PictureArm, balanced_rows, one_box, real_arm
from pictogram.pipelines.sample_classifier import ClassifierRecipe
from pictogram.pipelines.sample_scores import ScoreKeeper, classifier_seeds, mean_score
from pictogram.pipelines.sample_shards import first_seed_of
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
            parts.append(images_to_ids(bundle.vocabulary, codes))
    return torch.cat(parts)


def decoded(bundle: Bundle, size: str, ids: torch.Tensor, box: Box) -> Iterator[torch.Tensor]:
    """Pictures (B, C, H, W) uint8 of ids in document order, some at a time."""
    with torch.inference_mode():
        for part in ids.split(_AT_ONCE):
            codes = ids_to_images(bundle.vocabulary, part, size)
            yield box.of(to_8bit(bundle.image_tokenizer.decode(codes))).to(torch.uint8)


def drawn_arm(
    bundle: Bundle,
    prompts: Sequence[str],
    ids: torch.Tensor,
    num_given: int,
    seed: int,
    sampling: ImageSampling,
    box: Box,
) -> torch.Tensor:
    """(N, C, H, W) uint8 pictures whose first `num_given` codes are those of `ids` (N, n), the others drawn."""
    size = next(iter(bundle.vocabulary.sizes))
    given = ids.clone()
    given[:, num_given:] = DRAWN
    request = PictureRequest(list(prompts), spell_seeds(first_seed_of(seed), len(prompts)), size, given)
    found = ids if num_given == ids.shape[1] else draw_pictures(bundle, request, sampling, _AT_ONCE).token_ids
    return torch.cat(list(decoded(bundle, size, found, box)))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """Scores on real pictures of a split, one for each number of given codes; `asked` is the command line.

    Raises:
        InputError: numbers of codes that a picture cannot have, or pictures that do not serve.
    """
    for name in ("num_images", "num_steps", "num_classifiers"):
        check_positive(name, getattr(asked, name))
    first_seed_of(asked.seed)  # refused before the work
    check_other_pictures(asked.data, asked.split, "train")
    bundle, given = Bundle.from_pretrained(asked.model), whole_numbers("given", asked.given)
    sets = (labelled_pictures(asked.data, name, bundle.image_processor) for name in ("train", asked.split))
    learned, measured = with_same_classes(*sets)
    names, box = list(learned.labels.names), one_box(learned.dataset)
    rows = balanced_rows(learned.classes, asked.num_images, len(names), asked.seed)
    ids, classes = training_ids(bundle, learned, rows), learned.classes[torch.tensor(rows)]
    if not given or not all(0 <= count <= ids.shape[1] for count in given):
        raise InputError(f"given must be numbers of codes, 0 to the {ids.shape[1]} of a picture, got {given}")
    keeper = ScoreKeeper(asked.kept, len(names), ClassifierRecipe(num_steps=asked.num_steps))
    test, prompts = real_arm(measured, box), [names[int(number)] for number in classes]
    sampling = ImageSampling(guidance_scale=asked.guidance_scale).of_model(bundle.image_generation_config)
    arms = []
    for count in given:
        arm = PictureArm(drawn_arm(bundle, prompts, ids, count, asked.seed, sampling, box), classes)
        seeds = classifier_seeds(asked.seed, asked.num_classifiers)
        scores = [keeper.accuracy(arm, test, seed, f"{count} given") for seed in seeds]
        arms.append({"given": count} | mean_score(scores))
    protocol = {name: str(value) for name, value in vars(asked).items() if name != "json"}
    return {"protocol": protocol, "classes": names, "arms": arms}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundle", help="bundle that draws the rest")
    parser.add_argument("--data", default="fashion", help="folder of fashion_splits.py")
    parser.add_argument("--split", default="validation", help="real pictures that classifiers are tested on")
    parser.add_argument("--given", default="0,1,15,29,43,50", help="codes of a training picture that are kept")
    parser.add_argument("--num-images", type=int, default=10_000)
    parser.add_argument("--num-steps", type=int, default=ClassifierRecipe.num_steps, help="of every classifier")
    parser.add_argument("--num-classifiers", type=int, default=1, help="of each arm; the score is their mean")
    parser.add_argument("--guidance-scale", type=float, default=1.0)
    parser.add_argument("--kept", type=Path, default=Path("kept"), help="folder of scores, not paid for again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the report")
    asked = parser.parse_args(arguments)
    try:
        report = measure(asked)
    except InputError as error:
        parser.error(str(error))
    print_report(report, asked.json)


if __name__ == "__main__":
    main()
