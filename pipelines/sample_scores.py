"""What classifiers say of pictures, kept on disk: a score that was paid for once is not paid for again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from safetensors.torch import load_file, save

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes, read_json_object, write_json
from ..hub.fingerprint import fingerprint
from ..lm.estimates import share
from .sample_arms import PictureArm
from .sample_classifier import ClassifierRecipe, SampleClassifier, train_classifier


@dataclass(frozen=True)
class ScoreKeeper:
    """Trains classifiers on arms, or finds what it trained before.

    Attributes:
        folder: where scores and weights are kept, by the fingerprint of all that they depend on.
        num_classes: C.
        recipe: of every classifier.
        device: to train on.
    """

    folder: Path
    num_classes: int
    recipe: ClassifierRecipe
    device: str | torch.device = "cpu"

    def accuracy(self, learned: PictureArm, measured: PictureArm, seed: int, title: str) -> dict[str, Any]:
        """The classification accuracy score of an arm.

        Args:
            learned: what the classifier learns from.
            measured: real pictures that it is tested on.
            seed: of the classifier.
            title: of the progress bar.

        Returns:
            `accuracy` with its 95 % interval over the pictures; `per_class`: recall of each; `num_images` learned.
        """
        path = self._path("accuracy", learned, seed, measured).with_suffix(".json")
        if path.exists():
            return read_json_object(path)
        classifier = self._train(learned, seed, title)
        right = classifier.classify(measured.pixels) == measured.classes
        per_class = [right[measured.classes == number].double().mean() for number in range(self.num_classes)]
        score = {
            "accuracy": share(int(right.sum()), len(right)).to_dict(),
            "per_class": [None if value.isnan() else float(value) for value in per_class],
            "num_images": len(learned),
        }
        write_json(path, score)
        return score

    def feature_classifier(self, learned: PictureArm, seed: int) -> SampleClassifier:
        """A classifier of real pictures, in whose features arms are compared."""
        path = self._path("features", learned, seed).with_suffix(".safetensors")
        if not path.exists():
            classifier = self._train(learned, seed, "feature classifier")
            tensors = {name: tensor.cpu().contiguous() for name, tensor in classifier.state_dict().items()}
            atomic_write_bytes(path, save(tensors))
        classifier = SampleClassifier(learned.pixels.shape[1], self.num_classes, self.recipe.widths)
        try:
            classifier.load_state_dict(load_file(path))
        except Exception as error:
            raise InputError(f"{path} is damaged; remove it, and it is made again") from error
        return classifier.to(self.device).eval()

    def _train(self, learned: PictureArm, seed: int, title: str) -> SampleClassifier:
        return train_classifier(
            learned.pixels, learned.classes, self.num_classes, seed, self.recipe, self.device, title
        )

    def _path(self, kind: str, learned: PictureArm, seed: int, measured: PictureArm | None = None) -> Path:
        settings = {
            "learned": learned.fingerprint,
            "measured": measured and measured.fingerprint,
            "num_classes": self.num_classes,
            "recipe": asdict(self.recipe),
            "seed": seed,
            "torch": torch.__version__,
        }
        return self.folder / f"{kind}-{fingerprint({}, settings)[:32]}"


def classifier_seeds(seed: int, count: int) -> range:
    """Seeds of the classifiers of an evaluation; with another seed all of them are others."""
    return range(seed * count, (seed + 1) * count)


def mean_score(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One score of several classifiers of the same arm: what one of them says depends on its seed too.

    Args:
        scores: of `ScoreKeeper.accuracy`, at least one.

    Returns:
        Like theirs, with means. The interval is still over the test pictures alone; how classifiers differ, their
        single accuracies say, in `classifiers`.
    """
    values = [score["accuracy"]["value"] for score in scores]
    measured = scores[0]["accuracy"]["num_images"]
    accuracy = share(round(fmean(values) * measured), measured).to_dict() | {"value": fmean(values)}
    recalls = zip(*(score["per_class"] for score in scores), strict=True)
    per_class = [None if None in found else fmean(found) for found in recalls]
    return scores[0] | {"accuracy": accuracy, "per_class": per_class, "classifiers": values}
