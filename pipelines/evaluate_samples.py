"""`pictogram evaluate samples`: are drawn pictures as good as real ones for learning, as various, and no copies?

Four measurements of one set of samples of known classes, each beside the same of real pictures and of what the image
tokenizer makes of them, which is the best that a prior could draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from ..hub.files import write_json
from ..tokenizer.devices import default_device
from ..tokenizer.frechet import GaussianMoments, frechet_distance
from .evaluation_card import measure_for_card
from .sample_arms import PictureArm
from .sample_classifier import ClassifierRecipe, SampleClassifier
from .sample_distances import compare_distances, nearest_of_class, precision_recall
from .sample_input import DECODED, REAL, SAMPLES, SampleInput, open_input
from .sample_pictures import save_sample_grids
from .sample_scores import ScoreKeeper, classifier_seeds, mean_score
from .samples_config import SamplesEvaluation


def evaluate_samples(what: SamplesEvaluation) -> dict[str, Any]:
    """Compares samples with real pictures, and keeps the result with the bundle if it is for its card.

    Returns:
        By metric a figure for each arm (`real`, `decoded`, `samples`, and where they are needed `real test` and
        `decoded test`); `seconds` that drawing took, where it was measured; `protocol`, what the figures depend on.

    Raises:
        InputError: data, labels or model are missing, do not belong together, or are too few.
    """
    if what.card:
        return measure_for_card(what.model, "samples", partial(_evaluate, what))
    return _evaluate(what)


def _evaluate(what: SamplesEvaluation) -> dict[str, Any]:
    given = open_input(what)
    folder = Path(what.output)
    recipe = ClassifierRecipe(num_steps=what.num_steps)
    keeper = ScoreKeeper(Path(what.kept or folder / "kept"), len(given.names), recipe, default_device())
    report: dict[str, Any] = {"classes": list(given.names)}
    if "cas" in what.metrics:
        report["cas"] = _cas(given, keeper, classifier_seeds(what.seed, what.num_classifiers))
    classifier = keeper.feature_classifier(given.learned, what.feature_seed)
    report["recognised"] = _recognised(given, classifier)
    features = _Features(given, classifier)
    if "fd" in what.metrics:
        report["fd"] = features.frechet()
    if "precision-recall" in what.metrics:
        report["precision_recall"] = features.precision_recall(what.seed)
    if "memorisation" in what.metrics:
        report["memorisation"] = features.memorisation()
    report |= {
        "seconds": given.times and asdict(given.times),
        "failures": given.failures,
        "protocol": _protocol(what, given, recipe),
    }
    save_sample_grids(folder, given, classifier)
    write_json(folder / "evaluation.json", report)
    return report


def _cas(given: SampleInput, keeper: ScoreKeeper, seeds: Sequence[int]) -> dict[str, Any]:
    """Of every arm, and the samples' as a share of the others'."""
    scores = {
        name: mean_score(
            [keeper.accuracy(arm, given.measured, seed, f"classifier of {name} pictures") for seed in seeds]
        )
        for name, arm in given.arms.items()
    }
    values = {name: score["accuracy"]["value"] for name, score in scores.items()}
    return scores | {
        f"share_of_{name}": values[SAMPLES] / values[name] if values[name] else None
        for name in given.arms
        if name != SAMPLES
    }


def _recognised(given: SampleInput, classifier: SampleClassifier) -> dict[str, float]:
    """Of every arm the mean over classes of the share in its own; of real and decoded pictures those never seen."""
    shown = given.arms | {REAL: given.measured}
    if given.decoded_test is not None:
        shown[DECODED] = given.decoded_test
    return {name: _mean_of_classes(classifier.classify(arm.pixels) == arm.classes, arm) for name, arm in shown.items()}


def _mean_of_classes(right: torch.Tensor, arm: PictureArm) -> float:
    """The mean over classes of the share of `right` (N,), so that it does not matter how often each occurs."""
    return fmean(float(right[arm.classes == number].double().mean()) for number in arm.classes.unique().tolist())


class _Features:
    """All arms in the features of one classifier.

    Args:
        given: the arms.
        classifier: of real pictures.
    """

    def __init__(self, given: SampleInput, classifier: SampleClassifier):
        self.given = given
        self.test = classifier.features(given.measured.pixels)
        self.arms = {name: classifier.features(arm.pixels) for name, arm in given.arms.items()}
        self.classify = classifier.features

    def frechet(self) -> dict[str, Any]:
        """Squared distances to the real test pictures: of all together, and the mean over classes of each class's."""
        return {name: self._frechet_of(name, arm) for name, arm in self.given.arms.items()}

    def _frechet_of(self, name: str, arm: PictureArm) -> dict[str, float]:
        features, measured = self.arms[name], self.given.measured
        pairs = [
            (features[arm.classes == number], self.test[measured.classes == number])
            for number in range(len(self.given.names))
        ]
        return {
            "global": _distance(features, self.test),
            "per_class": fmean(_distance(*pair) for pair in pairs),
        }

    def precision_recall(self, seed: int) -> dict[str, Any]:
        """Of every arm beside the test pictures, as many of either."""
        count = min(len(self.test), *map(len, self.arms.values()))
        chosen = partial(_some, count=count, seed=seed)
        found = {name: precision_recall(chosen(self.test), chosen(arm)) for name, arm in self.arms.items()}
        return {name: asdict(each) for name, each in found.items()} | {"num_images": count}

    def memorisation(self) -> dict[str, Any]:
        """Distances to the nearest of all training pictures of the same class, in grey levels and in features."""
        learned, test = self.given.learned, self.given.decoded_test
        queries = {"real test": self.given.measured, SAMPLES: self.given.arms[SAMPLES]}
        queries |= {} if test is None else {"decoded test": test}
        report: dict[str, Any] = {}
        for space, embed in {"pixels": lambda pixels: pixels.float(), "features": self.classify}.items():
            points = embed(learned.pixels)
            distances = {
                name: nearest_of_class(embed(arm.pixels), arm.classes, points, learned.classes)
                for name, arm in queries.items()
            }
            report[space] = compare_distances(distances.pop(SAMPLES), distances)
        return report


def _distance(features: torch.Tensor, other: torch.Tensor) -> float:
    moments = GaussianMoments(), GaussianMoments()
    for moment, part in zip(moments, (features, other), strict=True):
        moment.add(part)
    return frechet_distance(*moments)


def _some(features: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    if len(features) <= count:
        return features
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    return features[order[:count]]


def _protocol(what: SamplesEvaluation, given: SampleInput, recipe: ClassifierRecipe) -> dict[str, Any]:
    return {
        "library": f"pictogram {version('pictogram')}, torch {version('torch')}",
        **asdict(what),
        "samples_are": given.origin,
        "picture_size": "x".join(map(str, given.measured.pixels.shape[2:])),
        "num_learned": len(given.learned),
        "num_measured": len(given.measured),
        "num_images_of": {name: len(arm) for name, arm in given.arms.items()},
        "recipe": asdict(recipe),
        "features": f"{recipe.widths[-1]} of a classifier of all {len(given.learned)} training pictures",
        "arms": {
            REAL: "training pictures",
            DECODED: "the same, encoded and decoded",
            SAMPLES: "drawn",
        },
    }
