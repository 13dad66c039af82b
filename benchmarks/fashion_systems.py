"""The systems that are compared on Fashion-MNIST under equal budgets of training, as the commands that make them.

A budget is in minutes of two cores: 30 are an hour of one core's time, 120 are four. Steps are chosen so that training
takes no longer on the slowest machine where figures of a budget were measured, and equally long for all systems; what
it took stands beside every figure. That machine was a faster one for 30 than for 120, so 120 are no four times the
steps.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pictogram import InputError
from pictogram.tokenizer.accelerators import cpu_computes_bfloat16

BENCHMARKS = Path(__file__).parent
PICTOGRAM = [sys.executable, "-m", "pictogram"]
SAMPLES = "samples"
"""Folder in a system's own where its samples lie; a bundle's are drawn by the evaluation."""


@dataclass(frozen=True)
class Run:
    """One system, one budget, one seed.

    Attributes:
        system: a name of `SYSTEMS`.
        minutes: budget, of two cores.
        seed: of everything random.
        data: folder of the splits.
        folder: for everything that the run writes.
        num_images: samples.
        split: that is scored.
        classifier_steps: of every classifier that scores.
        num_classifiers: whose mean is the score.
    """

    system: str
    minutes: int
    seed: int
    data: Path
    folder: Path
    num_images: int
    split: str
    classifier_steps: int = 2000
    num_classifiers: int = 3


@dataclass(frozen=True)
class Stage:
    """A command.

    Attributes:
        name: of the stage.
        command: program and arguments.
        trains: whether its time counts towards the budget.
    """

    name: str
    command: list[str]
    trains: bool = False

    def spoken(self) -> str:
        """The command as one would type it in a checkout."""
        words = ["python" if word == sys.executable else word for word in self.command]
        return shlex.join(word.replace(f"{BENCHMARKS.parent}{os.sep}", "") for word in words)


def stages(run: Run) -> list[Stage]:
    """Everything from data to samples; no evaluation.

    Raises:
        InputError: there is no such system, or it has no such budget.
    """
    if run.system not in SYSTEMS:
        raise InputError(f"system must be one of {', '.join(SYSTEMS)}, got {run.system!r}")
    settings = SETTINGS[run.system]
    if run.minutes not in settings:
        raise InputError(f"budget of {run.system} must be one of {', '.join(map(str, settings))}, got {run.minutes}")
    return SYSTEMS[run.system](run, settings[run.minutes])


def _pictogram(run: Run, settings: dict[str, list[str]]) -> list[Stage]:
    """This package: an image tokenizer, and a transformer on words and codes."""
    return [_tokenizer(run, settings["tokenizer"]), *_codes(run), *_prior(run, settings["prior"])]


def _patches(run: Run, settings: dict[str, list[str]]) -> list[Stage]:
    """An ablation: the same prior on codes of patches, without a network."""
    command = [
        *PICTOGRAM,
        "train-patches",
        *_on(run),
        *settings["tokenizer"],
        "--output",
        str(run.folder / "tokenizer"),
    ]
    return [Stage("tokenizer", command, trains=True), *_codes(run), *_prior(run, settings["prior"])]


def _pixelsnail(run: Run, settings: dict[str, list[str]]) -> list[Stage]:
    """VQ-VAE-2 with gated convolutional priors."""
    script = [sys.executable, str(BENCHMARKS / "peers" / "pixelsnail.py")]
    options = ["--codes", str(run.folder / "codes"), "--tokenizer", str(run.folder / "tokenizer")]
    command = [*script, *options, *settings["prior"], *_drawn(run)]
    train, score = ["--json", str(peer_path(run))], ["--eval-split", run.split, "--json", str(bits_path(run))]
    return [
        _tokenizer(run, settings["tokenizer"]),
        *_codes(run),
        Stage("prior", [*command, *train], trains=True),
        Stage(f"bits of {run.split}", [*command, *score]),
    ]


def _gan(run: Run, settings: dict[str, list[str]]) -> list[Stage]:
    """A projection GAN in BigGAN's manner."""
    script = [sys.executable, str(BENCHMARKS / "peers" / "projection_gan.py")]
    pictures = ["--data", str(run.data), "--split", "train"]
    command = [*script, *pictures, *settings["gan"], "--json", str(peer_path(run)), *_drawn(run)]
    return [Stage("gan", command, trains=True)]


def _tokenizer(run: Run, settings: list[str]) -> Stage:
    command = [*PICTOGRAM, "train-tokenizer", *_on(run), *settings, "--output", str(run.folder / "tokenizer")]
    return Stage("tokenizer", command, trains=True)


def _codes(run: Run) -> list[Stage]:
    fixed = [
        "--caption-column",
        "label",
        "--model",
        str(run.folder / "tokenizer"),
        "--output",
        str(run.folder / "codes"),
    ]
    return [
        Stage(f"codes of {split}", [*PICTOGRAM, "tokenize", "--data", str(run.data), "--split", split, *fixed])
        for split in ("train", run.split)
    ]


def _prior(run: Run, settings: list[str]) -> list[Stage]:
    codes, bundle = ["--codes", str(run.folder / "codes")], str(run.folder / "bundle")
    places = [*codes, "--tokenizer", str(run.folder / "tokenizer")]
    train = [*PICTOGRAM, "train-lm", *places, *settings, "--seed", str(run.seed), "--output", bundle]
    score = [*PICTOGRAM, "evaluate", "prior", "--model", bundle, *codes, "--split", run.split]
    score += ["--output", str(bits_path(run))]
    return [Stage("prior", train, trains=True), Stage(f"bits of {run.split}", score)]


def bits_path(run: Run) -> Path:
    """Where the bits of held-out pictures stand; a GAN has none."""
    return run.folder / f"bits-{run.split}.json"


def peer_path(run: Run) -> Path:
    """Where a peer's script says what its training took."""
    return run.folder / "peer.json"


def _on(run: Run) -> list[str]:
    return ["--data", str(run.data), "--split", "train", "--seed", str(run.seed)]


def _drawn(run: Run) -> list[str]:
    return ["--seed", str(run.seed), "--num-samples", str(run.num_images), "--output", str(run.folder / "peer")]


Make = Callable[[Run, dict[str, list[str]]], list[Stage]]

SYSTEMS: dict[str, Make] = {
    "pictogram": _pictogram,
    "distortion": _pictogram,
    "gan": _gan,
    "pixelsnail": _pixelsnail,
    "pixelsnail-by-rate": _pixelsnail,
    "patches": _patches,
}
"""What is compared. Three are ablations. "distortion": this package's image tokenizer, trained for distortion alone.
"pixelsnail-by-rate": the gated prior on this package's codes. "patches": this package's prior, codes without a network.
"""

_PRECISION = "bf16" if cpu_computes_bfloat16() else "no"
_FAST = f"--preset fashion32 --num-blocks 1 --prefix-share 0.25 --mixed-precision {_PRECISION} --checkpoint-every 500"
_WHOLE_AND_CELLS = f"{_FAST} --image-size 28 --strides image,4 --codebook-sizes 64,1024 --prefix-weights 0.1"
_BY_RATE = f"{_WHOLE_AND_CELLS} --rate-weight 250"
_TWO_LEVELS = f"{_FAST} --strides 8,4 --codebook-sizes 512,512 --prefix-weights 0"
_PATCHES = "--image-size 28 --num-channels 1 --patch-size 4 --codebook-size 1024"
_CAPTIONS = "--code-noise 0.1 --image-to-text 0 --text-vocab-size 512 --checkpoint-every 500"

_TEXTS: dict[str, dict[int, dict[str, str]]] = {
    "pictogram": {
        30: {
            "tokenizer": f"{_BY_RATE} --num-steps 3000",
            "prior": f"--size nano {_CAPTIONS} --num-steps 4800",
        },
        120: {
            "tokenizer": f"{_BY_RATE} --num-steps 8000",
            "prior": f"--size nano {_CAPTIONS} --num-steps 8000",
        },
    },
    "distortion": {
        30: {
            "tokenizer": f"{_WHOLE_AND_CELLS} --num-steps 3000",
            "prior": f"--size nano {_CAPTIONS} --num-steps 4800",
        },
    },
    "gan": {30: {"gan": "--num-steps 11500"}, 120: {"gan": "--num-steps 46000"}},
    "pixelsnail": {
        30: {"tokenizer": f"{_TWO_LEVELS} --num-steps 3000", "prior": "--num-steps 3300"},
        120: {"tokenizer": f"{_TWO_LEVELS} --num-steps 8000", "prior": "--num-steps 14500"},
    },
    "pixelsnail-by-rate": {
        30: {"tokenizer": f"{_BY_RATE} --num-steps 3000", "prior": "--num-steps 4900"},
    },
    "patches": {
        30: {"tokenizer": _PATCHES, "prior": f"--size nano {_CAPTIONS} --num-steps 6300"},
        120: {"tokenizer": _PATCHES, "prior": f"--size small {_CAPTIONS} --num-steps 12000"},
    },
}

SETTINGS = {
    system: {
        minutes: {stage: options.split() for stage, options in texts.items()} for minutes, texts in budgets.items()
    }
    for system, budgets in _TEXTS.items()
}
"""Options of the training stages, by system and budget."""
