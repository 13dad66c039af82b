"""A tiny tokenizer, pictures that it knows and others that it does not."""

import functools
from pathlib import Path
from typing import Any

from PIL import Image
from tiny_chain import home
from tiny_model import make
from tiny_pictures import picture, smooth_folder

from pictogram.tokenizer.adaptation import AdaptationPictures, Preparation, prepare_adaptation
from pictogram.tokenizer.adaptation_config import AdaptationSettings
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.pixel_dataset import PixelDataset, load_pixels
from pictogram.tokenizer.training_config import TokenizerTrainingConfig


def processor() -> ImageTokenizerImageProcessorPil:
    return TokenizerTrainingConfig(image_size=16).image_processor()


@functools.cache
def old_folder() -> Path:
    return smooth_folder(home() / "old", 16, 3)


@functools.cache
def new_folder() -> Path:
    """Noise: 24 pictures to learn from, 8 to test, of two classes by the names of their folders."""
    folder = home() / "new"
    for split, count in (("train", 24), ("test", 8)):
        for number in range(count):
            target = folder / split / "ab"[number % 2]
            target.mkdir(parents=True, exist_ok=True)
            image = picture(100 + number, (16, 16))
            (Image.eval(image, lambda value: value // 2) if number % 2 else image).save(target / f"{number:02d}.png")
    return folder


@functools.cache
def tokenizer_folder(**options: Any) -> Path:
    folder = home() / f"adaptable-{sorted(options.items())}"
    trained(**options).save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


def trained(**options: Any) -> ImageTokenizer:
    """With codebooks that fit the old pictures."""
    model = make(num_blocks=1, **options)
    model.start_codebooks(pixels(old_folder(), "train").pixels(range(40)), seed=0)
    return model


def pixels(folder: Path, split: str) -> PixelDataset:
    return load_pixels(str(folder), split, processor())[0]


def pictures() -> AdaptationPictures:
    sets = [pixels(folder, split) for folder in (new_folder(), old_folder()) for split in ("train", "test")]
    return AdaptationPictures(new=sets[0], measured_new=sets[1], old=sets[2], measured_old=sets[3])


def asked(**options: Any) -> AdaptationSettings:
    few = {
        "new_codes": "2,3,4",
        "num_steps": 4,
        "batch_size": 8,
        "weight_decay": 0.1,
        "own_share": 0.5,
        "quantile": 0.5,
    }
    return AdaptationSettings(**{**few, **options})


def prepared(settings: AdaptationSettings, **options: Any) -> Preparation:
    return prepare_adaptation(trained(**options), processor(), pictures(), settings)
