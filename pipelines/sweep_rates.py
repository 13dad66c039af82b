"""One image tokenizer and one prior for each rate weight, and the curve of rate and distortion that they make.

pictogram sweep-rates --data zalando-datasets/fashion_mnist --preset fashion32 --output rates
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..hub.command_line import check_options, command, numbers, option, seed_option
from ..hub.errors import InputError
from ..hub.files import read_json_object, write_json
from ..lm.model import PRIOR_SIZES
from ..lm.train import PriorTrainingConfig, train_prior
from ..tokenizer.accelerators import PRECISIONS
from ..tokenizer.images import load_image_source
from ..tokenizer.presets import PRESETS
from ..tokenizer.train import TokenizerTrainingConfig, train_tokenizer
from .curve_baselines import LAYOUTS
from .curve_plot import check_plotting
from .evaluate_codec import CodecEvaluation, evaluate_codec, tables
from .labelled_pictures import check_other_pictures
from .stages import Stages
from .tokenize import tokenize
from .tokenize_job import TokenizeConfig

_SETTINGS = "sweep.json"


@dataclass(kw_only=True)
class RateSweepConfig:
    """What the models of a sweep depend on, and where they go."""

    output: str = option("rates", "Folder for models and figures; the same folder again goes on.")
    data: str = option("embedded", 'Pictures: "embedded", a folder of images, parquet, or any `datasets` name.')
    split: str = option("train", "Split to learn from.")
    test_split: str = option("test", "Split to measure on.")
    preset: str = option("emoji32", "Recipe of the image tokenizers.", one_of=PRESETS)
    rate_weights: str = option(
        "0,300,600,1200,2400", "Squared errors that a bit is worth, with commas; each gets models of its own."
    )
    tokenizer_steps: int = option(2000, "Training steps of each image tokenizer.", at_least=1)
    prior_size: str = option("small", "Size of each prior.", one_of=PRIOR_SIZES)
    prior_steps: int = option(800, "Training steps of each prior.", at_least=1)
    mixed_precision: str = option("no", '"no", "fp16" or "bf16", for the image tokenizers.', one_of=PRECISIONS)
    layout: str = option(
        "aligned", "aligned: things lie alike in all pictures; crops: all places are alike.", one_of=tuple(LAYOUTS)
    )
    max_images: int = option(500, "Pictures to measure on, at most, drawn by a fixed seed.", at_least=1)
    seed: int = seed_option()

    def __post_init__(self) -> None:
        check_options(self)
        if len(self.weights) < 1 or min(self.weights) < 0 or len({*self.weights}) < len(self.weights):
            raise InputError(f"rate_weights must be different numbers, 0 or more, got {self.rate_weights!r}")

    @property
    def weights(self) -> list[float]:
        """The entries of `rate_weights`."""
        return numbers("rate_weights", self.rate_weights)

    def folder(self, weight: float) -> str:
        """Of the models of one rate weight."""
        return f"{self.output}/rate-{weight:g}"

    def tokenizer_config(self, weight: float) -> TokenizerTrainingConfig:
        """The preset with its rate weight."""
        settings = PRESETS[self.preset] | {"num_steps": self.tokenizer_steps, "rate_weight": weight}
        return TokenizerTrainingConfig(
            output=f"{self.folder(weight)}/image-tokenizer",
            data=self.data,
            split=self.split,
            seed=self.seed,
            mixed_precision=self.mixed_precision,
            checkpoint_every=250,
            **settings,
        )

    def tokenize_config(self, weight: float) -> TokenizeConfig:
        """The pictures that the prior learns from."""
        folder = self.folder(weight)
        return TokenizeConfig(
            data=self.data, split=self.split, model=f"{folder}/image-tokenizer", output=f"{folder}/codes"
        )

    def prior_config(self, weight: float) -> PriorTrainingConfig:
        """A prior of pictures alone: compression knows no words."""
        folder = self.folder(weight)
        return PriorTrainingConfig(
            codes=f"{folder}/codes",
            tokenizer=f"{folder}/image-tokenizer",
            output=f"{folder}/bundle",
            split=self.split,
            size=self.prior_size,
            caption_dropout=1.0,
            image_to_text=0.0,
            num_steps=self.prior_steps,
            checkpoint_every=200,
            seed=self.seed,
        )

    def settings(self) -> dict[str, Any]:
        """What all models of the folder share."""
        varying = {"output", "rate_weights"}
        return {key: value for key, value in asdict(self).items() if key not in varying}


def train_rates(config: RateSweepConfig) -> list[str]:
    """Trains what is missing of a sweep, or goes on with it.

    Returns:
        The folders of the bundles, in the order of the weights.

    Raises:
        InputError: the folder holds a sweep with other settings, or see the trainings.
    """
    _claim(Path(config.output), config)
    stages = Stages(config.output)
    for weight in config.weights:
        name = f"rate weight {weight:g}"
        with stages.stage(f"tokenizer {weight:g}", f"training the image tokenizer, {name}"):
            train_tokenizer(config.tokenizer_config(weight))
        with stages.stage(f"codes {weight:g}", f"turning the pictures into codes, {name}"):
            tokenize(config.tokenize_config(weight))
        with stages.stage(f"prior {weight:g}", f"training the prior, {name}"):
            train_prior(config.prior_config(weight))
    return [f"{config.folder(weight)}/bundle" for weight in config.weights]


def sweep_rates(config: RateSweepConfig) -> dict[str, Any]:
    """Trains a sweep, measures it at all its weights, and returns the report; see `train_rates`, `evaluate_codec`."""
    check_plotting()
    check_other_pictures(config.data, config.test_split, config.split)
    for split in (config.split, config.test_split):
        load_image_source(config.data, split)  # what is missing is known before the trainings
    bundles = train_rates(config)
    what = CodecEvaluation(
        models=bundles,
        data=config.data,
        split=config.test_split,
        reference_split=config.split,
        rate_weights=config.weights,
        layout=config.layout,
        max_images=config.max_images,
    )
    return evaluate_codec(what, Path(config.output) / "curves") | {"output": config.output}


def _claim(folder: Path, config: RateSweepConfig) -> None:
    """A folder belongs to one sweep; only weights may be added to it."""
    marker, settings = folder / _SETTINGS, config.settings()
    if marker.exists():
        if (found := read_json_object(marker)) != settings:
            raise InputError(f"{folder} holds a sweep with settings {found}, not {settings}; give another --output")
    elif folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} exists and is no folder; give another --output")
    write_json(marker, settings)


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """What people see: the rest is in tables and the plot."""
    print(tables(report))
    return {"curves": f"{report['output']}/curves/curves.png", "report": f"{report['output']}/curves/report.json"}


main = command(
    RateSweepConfig,
    sweep_rates,
    "sweep-rates",
    """Train an image tokenizer and a prior for each of several rate weights, and draw bytes against quality.

    Example: pictogram sweep-rates --data zalando-datasets/fashion_mnist --preset fashion32 --output rates
    """,
    summarise=_summary,
)
