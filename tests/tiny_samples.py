"""Real pictures of two classes, noise that is drawn like them, and what is asked of both."""

import functools
import shutil
from pathlib import Path

import numpy as np
from PIL import Image
from tiny_chain import bundle_folder, home
from tiny_pictures import noise_in_two_classes

from pictogram.pipelines.samples_config import SamplesEvaluation

NAMES = ["bright", "dark"]


@functools.cache
def data() -> Path:
    """24 pictures of two classes, the same ones to train and to test."""
    folder = noise_in_two_classes(home() / "samples-data", 24)
    shutil.copytree(folder / "test", folder / "train")
    return folder


def asked(output: Path) -> SamplesEvaluation:
    """16 pictures an arm, drawn by a tiny bundle."""
    return SamplesEvaluation(
        model=str(bundle_folder()), data=str(data()), num_images=16, num_steps=12, output=str(output)
    )


def noise(classes, seeds, size=16):
    """Grey noise, dark or bright like the real classes; `classes` are numbered bright, dark."""
    pictures = []
    for number, seed in zip(classes, seeds, strict=True):
        values = np.random.default_rng(seed).integers(0, 100, (size, size)) + 100 * (number == 0)
        pictures.append(Image.fromarray(values.astype(np.uint8)))
    return pictures
