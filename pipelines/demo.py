"""The whole chain on the embedded pictures: image tokenizer, codes, prior, pictures from words.

Budgets are steps, never seconds: the same seed gives the same bytes. A killed demo goes on where it stood.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..hub.command_line import check_options, command, option, seed_option
from ..hub.errors import InputError
from ..hub.files import read_json, write_json
from ..lm.bundle import Bundle
from ..lm.train import PriorTrainingConfig, train_prior
from ..tokenizer.batches import derived_generator
from ..tokenizer.codes_dataset import load_codes
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.pictures import picture_grid, reconstruction_grid, save_picture
from ..tokenizer.pixel_dataset import PixelDataset, load_pixels
from ..tokenizer.presets import RECIPE
from ..tokenizer.train import TokenizerTrainingConfig, train_tokenizer
from .demo_report import score, summarise, versions, write_card
from .stages import Stages
from .text_to_image import TextToImagePipeline
from .tokenize import tokenize
from .tokenize_job import TokenizeConfig

_NUM_SAMPLES = 16
_NUM_RECONSTRUCTIONS = 8
_RESULTS = ("report.json", "samples.png", "reconstructions.png")


@dataclass(kw_only=True)
class DemoConfig:
    """What the demo's numbers depend on, and where it writes."""

    output: str = option("pictogram-demo", "Folder for everything the demo makes; the same folder again goes on.")
    seed: int = seed_option()
    tokenizer_steps: int = option(2100, "Training steps of the image tokenizer.", at_least=1)
    prior_steps: int = option(1500, "Training steps of the prior.", at_least=1)
    guidance_scale: float = option(1.2, "Guidance of the samples.", at_least=0)

    def __post_init__(self) -> None:
        check_options(self)

    def settings(self) -> dict[str, Any]:
        """What the numbers depend on: all but the folder."""
        return {key: value for key, value in asdict(self).items() if key != "output"}

    def tokenizer_config(self) -> TokenizerTrainingConfig:
        """17 codes a picture: few codes are learned fast."""
        return TokenizerTrainingConfig(
            output=f"{self.output}/image-tokenizer",
            strides="image,8",
            codebook_sizes="256,512",
            patch_size=8,
            hidden_size=128,
            num_blocks=1,
            num_steps=self.tokenizer_steps,
            checkpoint_every=250,
            seed=self.seed,
            **RECIPE,
        )

    def prior_config(self) -> PriorTrainingConfig:
        """A small prior that sees every picture many times."""
        return PriorTrainingConfig(
            codes=f"{self.output}/codes",
            tokenizer=f"{self.output}/image-tokenizer",
            output=f"{self.output}/bundle",
            size="pico",
            text_vocab_size=2048,
            image_to_text=0.25,
            optimizer="adamw",
            learning_rate=4e-3,
            num_steps=self.prior_steps,
            checkpoint_every=250,
            seed=self.seed,
        )


def run_demo(config: DemoConfig) -> dict[str, Any]:
    """Runs the chain, or what is left of it, and returns the report that it also writes to `report.json`.

    A finished demo only returns its report. What is returned names the folder as well; the file would differ by it.

    Raises:
        InputError: the folder belongs to something else, or to a demo with other settings.
    """
    folder = Path(config.output)
    _claim(folder, config)
    if all((folder / name).exists() for name in _RESULTS):
        return read_json(folder / "report.json") | {"output": config.output}
    stages = Stages(folder)
    with stages.stage("tokenizer", "1/5 training the image tokenizer on 1806 pictures"):
        train_tokenizer(config.tokenizer_config())
    with stages.stage("codes", "2/5 turning the pictures into codes"):
        for split in ("train", "test"):
            tokenize(_tokenize_config(config, split))
    with stages.stage("prior", "3/5 training the prior on words and codes"):
        bundle = train_prior(config.prior_config())
    processor = ImageTokenizerImageProcessorPil.from_pretrained(f"{config.output}/image-tokenizer")
    train, test = (load_pixels("embedded", split, processor)[0] for split in ("train", "test"))
    with stages.stage("pictures", "4/5 drawing pictures from words"):
        _draw(folder, bundle, config, train, test)
    with stages.stage("scores", "5/5 scoring"):
        codes = load_codes(f"{config.output}/codes", "test")
        scores = score(bundle, train, test, codes, seed=config.seed, guidance_scale=config.guidance_scale)
        write_card(folder, bundle, scores, prompt=train.source.captions(0)[0])
    report = {
        **scores,
        "seed": config.seed,
        "settings": config.settings(),
        "stages": stages.costs,
        "versions": versions(),
    }
    write_json(folder / "report.json", report)
    return report | {"output": config.output}


def _claim(folder: Path, config: DemoConfig) -> None:
    """A folder belongs to one demo with one set of settings."""
    settings = config.settings()
    marker = folder / "demo.json"
    if marker.exists():
        if (found := read_json(marker)) != settings:
            raise InputError(f"{folder} holds a demo with settings {found}, not {settings}; give another --output")
    elif folder.exists() and (not folder.is_dir() or _visible(folder)):
        raise InputError(f"{folder} exists and holds no demo; give another --output")
    write_json(marker, settings)


def _visible(folder: Path) -> list[Path]:
    """Its entries but hidden ones: a demo killed while it wrote its first file leaves a temporary one."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _tokenize_config(config: DemoConfig, split: str) -> TokenizeConfig:
    return TokenizeConfig(
        data="embedded", split=split, model=f"{config.output}/image-tokenizer", output=f"{config.output}/codes"
    )


def _draw(folder: Path, bundle: Bundle, config: DemoConfig, train: PixelDataset, test: PixelDataset) -> None:
    """`samples.png`: a sample for each of 16 captions; `reconstructions.png`: held-out pictures and their decodings."""
    generator = derived_generator(config.seed, "demo captions")
    rows = torch.randperm(len(train), generator=generator)[:_NUM_SAMPLES].tolist()
    captions = [train.source.captions(row)[0] for row in rows]
    images = TextToImagePipeline(bundle)(
        captions, seed=config.seed, guidance_scale=config.guidance_scale, progress=True
    ).images
    lines = range(0, _NUM_SAMPLES, 4)
    grid = picture_grid(
        [images[line : line + 4] for line in lines], titles=[captions[line : line + 4] for line in lines], cell=128
    )
    save_picture(grid, folder / "samples.png")
    rows = torch.randperm(len(test), generator=generator)[:_NUM_RECONSTRUCTIONS].tolist()
    save_picture(reconstruction_grid(bundle.image_tokenizer, test.pixels(rows)), folder / "reconstructions.png")


main = command(
    DemoConfig,
    run_demo,
    "demo",
    """Run the whole chain on the embedded pictures: a few minutes to pictures made from words.

    Example: pictogram demo --output pictogram-demo
    """,
    summarise=summarise,
)
