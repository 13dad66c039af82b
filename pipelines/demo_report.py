"""What the demo measures and how it tells: `report.json` for programs, a few lines for people, a card for the Hub."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..hub.evaluations import write_evaluation
from ..hub.files import atomic_write_bytes
from ..lm.bundle import Bundle
from ..lm.bundle_card import PICTURE_NAME, write_bundle_card
from ..tokenizer.codes_dataset import CodesDataset
from ..tokenizer.evaluation import evaluate_tokenizer
from ..tokenizer.pixel_dataset import PixelDataset
from .evaluate_prior import prior_rates
from .name_accuracy import measure_name_accuracy


def score(
    bundle: Bundle,
    train: PixelDataset,
    test: PixelDataset,
    test_codes: CodesDataset,
    *,
    seed: int,
    guidance_scale: float,
) -> dict[str, Any]:
    """All figures of the demo that depend on nothing but its seed and settings."""
    accuracy = measure_name_accuracy(bundle, train, seed=seed, guidance_scale=guidance_scale)
    return {
        "name_accuracy": accuracy.name_accuracy,
        "name_accuracy_details": accuracy.to_dict(),
        "image_tokenizer": {
            "train": evaluate_tokenizer(bundle.image_tokenizer, train).to_dict(),
            "test": evaluate_tokenizer(bundle.image_tokenizer, test).to_dict(),
        },
        "held_out_bits": {direction: rate.to_dict() for direction, rate in prior_rates(bundle, test_codes).items()},
    }


def versions() -> dict[str, str]:
    """Of Python and the packages that the numbers depend on."""
    names = ("pictogram", "torch", "transformers", "datasets", "accelerate", "sentencepiece", "safetensors")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def figures(report: dict[str, Any]) -> dict[str, str]:
    """The figures of a report, in words."""
    names, tokenizer = report["name_accuracy_details"], report["image_tokenizer"]
    bits = report["held_out_bits"]["text_to_image"]
    return {
        "pictures recalled by name": f"{names['name_accuracy']:.1%} at guidance {names['guidance_scale']:g}, "
        f"{names['without_guidance']:.1%} without (ceiling {names['reconstructions']:.1%}, "
        f"shuffled captions {names['shuffled_captions']:.1%})",
        "names recalled by picture": f"{names['caption_accuracy']:.1%}",
        "PSNR of every prefix, training pictures": " / ".join(f"{v:.2f}" for v in tokenizer["train"]["psnr"]) + " dB",
        "PSNR of every prefix, held-out pictures": " / ".join(f"{v:.2f}" for v in tokenizer["test"]["psnr"]) + " dB",
        "codes in use, training pictures": " / ".join(f"{v:.0%}" for v in tokenizer["train"]["usage"]),
        "bits per level, held-out pictures given their captions": " / ".join(f"{v:.1f}" for v in bits["level_bits"]),
    }


def summarise(report: dict[str, Any]) -> dict[str, Any]:
    """What people see at the end of the demo."""
    seconds = sum(stage["seconds"] for stage in report["stages"].values())
    memory = max(stage["peak_memory_mb"] for stage in report["stages"].values())
    return figures(report) | {
        "time and memory": f"{seconds:.0f} s, {memory:.0f} MB",
        "look at": f"{report['output']}/samples.png and {report['output']}/reconstructions.png",
        "go on with": f'pictogram generate "red apple" --model {report["output"]}/bundle',
    }


def write_card(folder: Path, bundle: Bundle, report: dict[str, Any], prompt: str) -> None:
    """Gives the bundle its measured figures, the samples, and a card with both."""
    place = folder / "bundle"
    atomic_write_bytes(place / PICTURE_NAME, (folder / "samples.png").read_bytes())
    write_evaluation(place, "figures", bundle.fingerprint, figures(report))
    write_bundle_card(bundle, place, prompt=prompt)
