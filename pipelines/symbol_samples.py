"""Does a symbol mean to the prior what it means to pictures? What is drawn under it, beside the real ones it has.

A classifier that learned from real pictures with labels looks at both. A symbol's *consistency* is the share of its
pictures in its most frequent class. Pictures drawn under a symbol should be as consistent as the real ones, and of the
same class.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from ..hub.command_line import check_options, command, option, seed_option
from ..hub.errors import InputError
from ..hub.files import write_json
from ..lm.image_sampler import ImageSampling
from ..tokenizer.gradient_histograms import edges_of, gradient_histograms
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.principal_components import PrincipalComponents
from ..tokenizer.progress import progress_bar
from ..tokenizer.reconstructions import row_batches
from .labelled_pictures import (
    LabelledPictures,
    check_other_pictures,
    check_several_classes,
    labelled_pictures,
    with_same_classes,
)
from .text_to_image import TextToImagePipeline

REAL, DECODED, DRAWN = "real", "decoded", "drawn"
KINDS = (REAL, DECODED, DRAWN)
"""Pictures of a symbol as they are, as their codes decode, and as the prior draws them."""

_NUM_COMPONENTS = 128
_STRENGTH = 10.0
"""Inverse of the classifier's regularisation."""


@dataclass(kw_only=True)
class SymbolSamplesConfig:
    """What is measured."""

    model: str = option("bundle", "Bundle with a whole-image code: a folder, or a name on the Hub.")
    data: str = option("embedded", "Pictures with class labels: a folder, parquet, or any `datasets` name.")
    split: str = option("test", "Split whose pictures the drawn ones are compared with.")
    reference_split: str = option("train", "Split that the classifier learns from.")
    max_images: int = option(10_000, "Most pictures of a split, drawn by the seed.", at_least=1)
    images_per_symbol: int = option(20, "Pictures drawn under a symbol; it needs as many real ones.", at_least=2)
    seed: int = seed_option()
    output: str = option("", "Folder for samples.json.")

    def __post_init__(self) -> None:
        check_options(self)


Classifier = Callable[[torch.Tensor], torch.Tensor]
"""(B, C, H, W) pixels in [-1, 1] -> (B,) int64 classes."""


def evaluate_symbol_samples(what: SymbolSamplesConfig) -> dict[str, Any]:
    """Compares drawn and real pictures symbol by symbol.

    Returns:
        `consistency`: mean over symbols for each of `KINDS`; `same_class`: share of the symbols whose drawn pictures
        have the class of the real ones most often; `classifier_accuracy` on the real pictures; `symbols`: a row each;
        `num_left_out`: symbols in use with too few pictures; `protocol`.

    Raises:
        InputError: scikit-learn is missing, there is no whole-image code, no labels, or no symbol with enough pictures.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise InputError("the classifier needs scikit-learn: pip install scikit-learn")
    check_other_pictures(what.data, what.split, what.reference_split)
    pipeline = TextToImagePipeline.from_pretrained(what.model)
    model, processor = pipeline.bundle.image_tokenizer, pipeline.bundle.image_processor
    if not isinstance(model, ImageTokenizer) or not model.config.has_image_level:
        raise InputError(f"{what.model} has no whole-image code of pictogram's own to draw pictures under")
    reference, measured = (
        labelled_pictures(what.data, split, processor, what.max_images, what.seed)
        for split in (what.reference_split, what.split)
    )
    reference, measured = with_same_classes(reference, measured)
    check_several_classes(reference)
    classify = trained_classifier(reference)
    found = _classes_of_real_pictures(model, measured, classify)
    symbols = _enough(found.symbols, what.images_per_symbol)
    if not symbols:
        raise InputError(f"no symbol has {what.images_per_symbol} pictures in split {what.split}; ask for fewer")
    rows = [_row(what, pipeline, model, symbol, found, classify) for symbol in symbols]
    names = measured.labels.names
    report = {
        "consistency": {kind: fmean(row.consistency[kind] for row in rows) for kind in KINDS},
        "same_class": fmean(row.classes[DRAWN] == row.classes[REAL] for row in rows),
        "classifier_accuracy": float((found.real == measured.classes).double().mean()),
        "symbols": [
            {
                "symbol": row.symbol,
                **{kind: {"class": names[row.classes[kind]], "share": row.consistency[kind]} for kind in KINDS},
            }
            for row in rows
        ],
        "num_left_out": len(found.symbols.unique()) - len(symbols),
        "failures": [*reference.failures, *measured.failures],
        "protocol": {
            "library": f"pictogram {version('pictogram')}, torch {version('torch')}",
            **asdict(what),
            "num_images": len(measured.classes),
            "num_reference_images": len(reference.classes),
            "sampling": asdict(ImageSampling().of_model(pipeline.bundle.image_generation_config)),
            "classifier": f"logistic regression of {_NUM_COMPONENTS} components of edge histograms",
        },
    }
    if what.output:
        write_json(Path(what.output) / "samples.json", report)
    return report


def trained_classifier(pictures: LabelledPictures) -> Classifier:
    """Logistic regression of edge histograms, which see what is drawn and not how bright it is."""
    from sklearn.linear_model import LogisticRegression

    points = edges_of(pictures.dataset, range(len(pictures.dataset)))
    components = PrincipalComponents.of(points, _NUM_COMPONENTS)
    width = components.project(points).norm(dim=1).mean()
    fitted = LogisticRegression(C=_STRENGTH, max_iter=1000)
    fitted.fit((components.project(points) / width).numpy(), pictures.classes.numpy())

    def classify(pixel_values: torch.Tensor) -> torch.Tensor:
        seen = components.project(gradient_histograms(pixel_values)) / width
        return torch.from_numpy(fitted.predict(seen.numpy())).long()

    return classify


@dataclass(frozen=True, eq=False)
class _RealPictures:
    """(N,) int64 each: the symbols of real pictures, and what they and their decoded codes are taken for."""

    symbols: torch.Tensor
    real: torch.Tensor
    decoded: torch.Tensor


@torch.no_grad()
def _classes_of_real_pictures(model: ImageTokenizer, pictures: LabelledPictures, classify: Classifier) -> _RealPictures:
    parts: list[tuple[torch.Tensor, ...]] = []
    with progress_bar("codes", len(pictures.dataset)) as advance:
        for rows in row_batches(len(pictures.dataset), 256):
            pixels = pictures.dataset.pixels(rows)
            codes = model.encode(pixels.to(model.device))
            parts.append((codes[0].flatten().cpu(), classify(pixels), classify(model.decode(codes).cpu())))
            advance(len(rows))
    return _RealPictures(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _enough(symbols: torch.Tensor, count: int) -> list[int]:
    """Symbols with at least `count` pictures."""
    return [symbol for symbol, used in enumerate(torch.bincount(symbols).tolist()) if used >= count]


@dataclass(frozen=True)
class _Row:
    """What a symbol's pictures of each kind are taken for most often, and how large a share of them is."""

    symbol: int
    classes: dict[str, int]
    consistency: dict[str, float]


def _row(
    what: SymbolSamplesConfig,
    pipeline: TextToImagePipeline,
    model: ImageTokenizer,
    symbol: int,
    found: _RealPictures,
    classify: Classifier,
) -> _Row:
    # As many of each kind: the largest share of few is larger.
    count = what.images_per_symbol
    rows = (found.symbols == symbol).nonzero().squeeze(1)[:count]
    drawn = pipeline(num_images=count, seed=what.seed + symbol * count, symbol=symbol)
    labels = {
        REAL: found.real[rows],
        DECODED: found.decoded[rows],
        DRAWN: classify(model.decode([level.to(model.device) for level in drawn.codes]).cpu()),
    }
    counts = {kind: torch.bincount(classes) for kind, classes in labels.items()}
    return _Row(
        symbol,
        {kind: int(each.argmax()) for kind, each in counts.items()},
        {kind: float(each.max() / count) for kind, each in counts.items()},
    )


def summarise(report: dict[str, Any]) -> dict[str, Any]:
    """What people see of it."""
    shown = {f"consistency of {kind} pictures": report["consistency"][kind] for kind in KINDS}
    return shown | {
        "drawn pictures of the same class": report["same_class"],
        "symbols": len(report["symbols"]),
        "symbols left out": report["num_left_out"],
        "classifier's accuracy": report["classifier_accuracy"],
    }


samples = command(
    SymbolSamplesConfig,
    evaluate_symbol_samples,
    "samples",
    """Whether pictures drawn under a symbol are of one class as consistently as the real pictures that have it.

    Example: pictogram symbols samples --model bundle --data zalando-datasets/fashion_mnist
    """,
    summarise=summarise,
)
