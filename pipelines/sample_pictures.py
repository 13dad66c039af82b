"""Samples for people to look at: the first of each class, and those that a classifier takes for another class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ..tokenizer.image_processor import to_images
from ..tokenizer.pictures import picture_grid, save_picture
from .sample_arms import PictureArm
from .sample_classifier import SampleClassifier
from .sample_input import SAMPLES, SampleInput

_NUM_COLUMNS = 10
_MOST_CLASSES = 40
_CELL = 56
"""Pixels."""


def save_sample_grids(folder: Path, given: SampleInput, classifier: SampleClassifier) -> None:
    """Writes samples.png, one row a class and nothing chosen, and mistaken.png, the least like their class."""
    arm = given.arms[SAMPLES]
    classes = range(min(len(given.names), _MOST_CLASSES))
    rows = [arm.of_class(number)[:_NUM_COLUMNS] for number in classes]
    _save(folder / "samples.png", rows, [given.names[number] for number in classes])
    rows = _mistaken(arm, classifier, len(classes))
    shown = [number for number in classes if len(rows[number])]
    if shown:
        _save(folder / "mistaken.png", [rows[number] for number in shown], [given.names[number] for number in shown])


def _mistaken(arm: PictureArm, classifier: SampleClassifier, num_classes: int) -> list[torch.Tensor]:
    """For each class the samples of it that are taken for another, the surest mistakes first."""
    certain = classifier.chances(arm.pixels).gather(1, arm.classes[:, None]).squeeze(1)
    wrong = classifier.classify(arm.pixels) != arm.classes
    found = []
    for number in range(num_classes):
        rows = (wrong & (arm.classes == number)).nonzero().squeeze(1)
        found.append(arm.pixels[rows[certain[rows].argsort(stable=True)][:_NUM_COLUMNS]])
    return found


def _save(path: Path, rows: Sequence[torch.Tensor], names: Sequence[str]) -> None:
    images = [to_images(row.float() / 127.5 - 1) for row in rows]
    titles = [
        [name if place == 0 else "" for place in range(len(row))] for name, row in zip(names, images, strict=True)
    ]
    save_picture(picture_grid(images, titles=titles, cell=_CELL), path)
