"""Does a prior compose what it never saw together? Known names in styles they were held out of, and unknown names.

python benchmarks/compositions.py --model BUNDLE --data EMOJI --classifier emoji.safetensors --out DIR --json FILE

The data has columns `name`, `style`, `category` and captions; benchmarks/README.md says what each number is.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from emoji_classifier import EmojiClassifier, Labelled, kept_classifier
from interleaved import print_report
from PIL import Image
from recognition import group_names

from pictogram import InputError
from pictogram.pipelines.text_to_image import TextToImagePipeline
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_images
from pictogram.tokenizer.pictures import picture_grid, save_picture
from pictogram.tokenizer.pixel_dataset import load_pixels

NUM_SHOWN = 12
NUM_WORST = 24


@dataclass(frozen=True, eq=False)
class Split:
    """Held-out pictures, and what was drawn for their captions.

    Attributes:
        real: the pictures.
        captions: one each.
        reconstructed: (N, 3, H, W) in [-1, 1], the pictures after the image tokenizer.
        drawn: the same shape, one sample for each caption.
    """

    real: Labelled
    captions: list[str]
    reconstructed: torch.Tensor
    drawn: torch.Tensor


@dataclass(frozen=True, eq=False)
class Nearness:
    """Distances to held-out pictures in one space, (N,) each; NaN without a training picture of the same name.

    Attributes:
        drawn: of the samples.
        copied: of the nearest training picture of the same name, whichever that is: an oracle's copy.
        any_copy: mean over all training pictures of the same name: a copy without the oracle.
        reconstructed: of the pictures' own reconstructions.
    """

    drawn: torch.Tensor
    copied: torch.Tensor
    any_copy: torch.Tensor
    reconstructed: torch.Tensor

    def report(self) -> dict[str, float]:
        """Shares of pictures nearer than the best copy, among those that have one, and median distances."""
        known = ~self.copied.isnan()
        medians = {name: round(float(value.nanmedian()), 6) for name, value in vars(self).items()}
        return {
            "drawn_nearer_than_best_copy": _share((self.drawn < self.copied)[known]),
            "drawn_nearer_than_mean_copy": _share((self.drawn < self.any_copy)[known]),
            "reconstructed_nearer_than_best_copy": _share((self.reconstructed < self.copied)[known]),
        } | {f"median_distance_{name}": value for name, value in medians.items()}


def read(data: str, split: str, processor: ImageTokenizerImageProcessorPil) -> tuple[Labelled, list[str]]:
    """The labelled pictures of a split, and their captions."""
    dataset, _ = load_pixels(data, split, processor)
    names, styles, categories = (group_names(dataset, column) for column in ("name", "style", "category"))
    labelled = Labelled(dataset.pixels(range(len(dataset))), names, styles, categories)
    return labelled, [dataset.source.captions(row)[0] for row in range(len(dataset))]


def draw(pipeline: TextToImagePipeline, real: Labelled, captions: list[str], options: dict[str, Any]) -> Split:
    """Samples one picture for every caption, with seeds that count up, and reconstructs the real ones."""
    with torch.no_grad():
        model = pipeline.bundle.image_tokenizer
        parts = [model.decode(model.encode(part)) for part in real.pixels.split(64)]
    images = pipeline(captions, progress=True, **options).images
    drawn = pipeline.bundle.image_processor(images, return_tensors="pt")["pixel_values"]
    return Split(real, captions, torch.cat(parts).clamp(-1, 1), drawn)


def nearness(space: list[torch.Tensor], known: list[str], names: list[str]) -> Nearness:
    """Distances in a space.

    Args:
        space: (M, d) of training pictures; (N, d) each of held-out pictures, samples, reconstructions.
        known: M names of the training pictures.
        names: N names of the held-out ones.
    """
    train, real, drawn, reconstructed = space
    best, mean = torch.full((2, len(names)), torch.nan)
    for row, name in enumerate(names):
        same = [place for place, other in enumerate(known) if other == name]
        if same:
            distances = (train[same] - real[row]).square().mean(1)
            best[row], mean[row] = distances.min(), distances.mean()
    own = [(pictures - real).square().mean(1) for pictures in (drawn, reconstructed)]
    return Nearness(own[0], best, mean, own[1])


def measure(split: Split, train: Labelled, classifier: EmojiClassifier) -> tuple[dict[str, Any], torch.Tensor]:
    """The report on a split, and (N,) squared distances of samples to their targets in features."""
    real = split.real
    pictures = [train.pixels, real.pixels, split.drawn, split.reconstructed]
    features = [classifier.features(pixels) for pixels in pictures]
    spaces = {"pixels": [pixels.flatten(1) for pixels in pictures], "features": features}
    of_real, of_drawn, of_reconstructed = features[1:]
    report: dict[str, Any] = {"pictures": len(real.names)}
    for label, values in (("style", real.styles), ("category", real.categories)):
        accuracies = {
            name: classifier.accuracy(found, label, values)
            for name, found in (("real", of_real), ("reconstructed", of_reconstructed), ("drawn", of_drawn))
        }
        relative = accuracies["drawn"] / max(accuracies["reconstructed"], 1e-9)
        report[f"{label}_accuracy"] = {n: round(v, 4) for n, v in accuracies.items()} | {"relative": round(relative, 4)}
    found = {name: nearness(space, train.names, real.names) for name, space in spaces.items()}
    if not found["pixels"].copied.isnan().all():
        report |= {name: values.report() for name, values in found.items()}
    report["name_found_among_held_out"] = {
        "drawn": _found(of_drawn, of_real, real),
        "reconstructed": _found(of_reconstructed, of_real, real),
    }
    return report, found["features"].drawn


def _found(pictures: torch.Tensor, real: torch.Tensor, labels: Labelled) -> float:
    """How often the nearest held-out picture of the asked style, by features, has the asked name."""
    right = 0
    for row, (name, style) in enumerate(zip(labels.names, labels.styles, strict=True)):
        rivals = [place for place, other in enumerate(labels.styles) if other == style]
        nearest = (real[rivals] - pictures[row]).square().sum(1).argmin()
        right += labels.names[rivals[int(nearest)]] == name
    return round(right / len(labels.names), 4)


def _share(chosen: torch.Tensor) -> float:
    return round(float(chosen.float().mean()), 4)


def grid(split: Split, train: Labelled, rows: list[int]) -> Image.Image:
    """A column for each row: the held-out picture, the sample, and the nearest copy in pixels."""
    copies = []
    for row in rows:
        same = [place for place, name in enumerate(train.names) if name == split.real.names[row]]
        distances = (train.pixels[same] - split.real.pixels[row]).square().flatten(1).mean(1)
        copies.append(train.pixels[same[int(distances.argmin())]] if same else torch.ones_like(train.pixels[0]))
    pictures = [split.real.pixels[rows], split.drawn[rows], torch.stack(copies)]
    titles = [[split.captions[row] for row in rows], ["drawn"] * len(rows), ["best copy"] * len(rows)]
    return picture_grid([to_images(part) for part in pictures], titles=titles, cell=96)


def save_grids(out: Path, name: str, split: Split, train: Labelled, distances: torch.Tensor) -> list[str]:
    """Writes uncurated grids, one per style and per category, and the worst; returns the captions of the worst."""
    for values in (split.real.styles, split.real.categories):
        for value in sorted(set(values)):
            rows = [row for row, other in enumerate(values) if other == value][:NUM_SHOWN]
            slug = re.sub(r"\W+", "-", value.lower())
            save_picture(grid(split, train, rows), out / f"{name}-{slug}.png")
    worst = distances.argsort(descending=True)[:NUM_WORST].tolist()
    save_picture(grid(split, train, worst[:NUM_SHOWN]), out / f"{name}-worst.png")
    return [split.captions[row] for row in worst]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="bundle")
    parser.add_argument("--data", required=True, help="folder with the splits train and those of --splits")
    parser.add_argument("--splits", nargs="+", default=["test_composition", "test_unseen"])
    parser.add_argument("--out", type=Path, required=True, help="folder for the grids")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--temperature", type=float, nargs="+", default=[1.0], help="one, or one per level")
    parser.add_argument("--top-p", type=float, default=1.0)
    parser.add_argument("--guidance-scale", type=float, default=1.0)
    parser.add_argument("--num-candidates", type=int, default=1)
    parser.add_argument("--classifier", type=Path, required=True, help="its file; trained and written if missing")
    parser.add_argument("--epochs", type=int, default=24, help="of the classifier")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        print_report(run(arguments), arguments.json)
    except InputError as error:
        sys.exit(f"compositions.py: {error}")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    pipeline = TextToImagePipeline.from_pretrained(arguments.model)
    train, _ = read(arguments.data, "train", pipeline.bundle.image_processor)
    classifier = kept_classifier(arguments.classifier, train, seed=0, epochs=arguments.epochs)
    temperature = arguments.temperature[0] if len(arguments.temperature) == 1 else arguments.temperature
    options: dict[str, Any] = dict(
        seed=arguments.seed,
        temperature=temperature,
        top_p=arguments.top_p,
        guidance_scale=arguments.guidance_scale,
        num_candidates=arguments.num_candidates,
    )
    report: dict[str, Any] = {"model": arguments.model} | options
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.splits:
        real, captions = read(arguments.data, name, pipeline.bundle.image_processor)
        split = draw(pipeline, real, captions, options)
        report[name], distances = measure(split, train, classifier)
        report[name]["furthest"] = save_grids(arguments.out, name, split, train, distances)
    return report


if __name__ == "__main__":
    main()
