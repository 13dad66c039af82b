"""Do classes emerge in the whole-image code? What codes tell of classes against the bits they take, beside k-means.

No method sees a class when it makes its codes. Labels of the reference pictures name the codes (majority vote,
p(class | code)), labels of the measured pictures score the names.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch

from ..hub.errors import InputError
from ..hub.files import write_json
from ..tokenizer.balanced_kmeans import balanced_kmeans
from ..tokenizer.clustering_scores import adjusted_rand_index, clustering_accuracy
from ..tokenizer.code_statistics import entropy, measure_classes
from ..tokenizer.held_out_information import held_out_information
from ..tokenizer.kmeans import kmeans
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.pixel_dataset import PixelDataset
from ..tokenizer.principal_components import PrincipalComponents
from ..tokenizer.progress import progress_bar
from ..tokenizer.quantizer import nearest
from ..tokenizer.reconstructions import row_batches
from .bundle_pipeline import check_positive
from .labelled_pictures import LabelledPictures, check_other_pictures, flat_pixels, labelled_pictures, with_same_classes

OWN = "whole-image code"
LATENTS, FEATURES, PIXELS = "its latents", "features", "pixels"

KMEANS, BALANCED = "k-means of", "balanced k-means of"

_NUM_ITERATIONS = 30
_NUM_COMPONENTS = 64
"""Principal components that k-means of pixels and features sees."""


@dataclass(frozen=True)
class EmergenceEvaluation:
    """What is measured.

    Attributes:
        models: image tokenizers with a whole-image code, for example of several seeds.
        data: pictures with class labels, see `load_image_source`.
        split: to score on.
        reference_split: to learn k-means and names from.
        codebook_sizes: K of the k-means; the whole-image codes have their own.
        label_column: column with the classes, class labels or texts; None takes the first column of class labels.
        max_images: most pictures of a split, drawn by the seed; None takes all.
        num_seeds: of each k-means.
        num_starts: tries of each k-means, of which the one with the least squared distances counts.
        seed: the first of them.
    """

    models: Sequence[str]
    data: str
    split: str = "test"
    reference_split: str = "train"
    codebook_sizes: Sequence[int] = (10, 32, 64, 128, 256, 512)
    label_column: str | None = None
    max_images: int | None = None
    num_seeds: int = 3
    num_starts: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("expected at least one image tokenizer, got none")
        if not self.codebook_sizes or min(self.codebook_sizes) < 2:
            raise InputError(f"codebook sizes must be at least 2, got {list(self.codebook_sizes)}")
        check_positive("num_seeds", self.num_seeds)
        check_positive("num_starts", self.num_starts)
        if self.max_images is not None:
            check_positive("max_images", self.max_images)


@dataclass(frozen=True)
class EmergencePoint:
    """Codes of one method, one size and one seed.

    Attributes:
        method: how they were made.
        model: of the tokenizer that was used; "" for pixels.
        codebook_size: K.
        bits: entropy of the codes of the measured pictures: what a code takes.
        information: bits between code and class of the measured pictures; few pictures a code make it too high.
        held_out_information: bits that p(class | code) of the reference pictures tells of the measured ones' classes
            beyond p(class), see `held_out_information`; never too high but by chance.
        majority_vote: share of measured pictures in the class that is the most frequent one of their code in the
            reference pictures.
        nmi: information over the mean of the two entropies; compares at one K only.
        ari: adjusted Rand index of codes and classes; compares at one K only.
        accuracy: see `clustering_accuracy`; compares at one K only, and says most where K is the number of classes.
    """

    method: str
    model: str
    codebook_size: int
    bits: float
    information: float
    held_out_information: float
    majority_vote: float
    nmi: float
    ari: float
    accuracy: float


def evaluate_emergence(what: EmergenceEvaluation, output: Path | None = None) -> dict[str, Any]:
    """Measures whole-image codes beside k-means and balanced k-means of their latents, of features and of pixels.

    Args:
        what: is measured.
        output: folder for `emergence.json`; None writes nothing.

    Returns:
        `points`, see `EmergencePoint`; `summary`: mean and spread over models and seeds for each method and K;
        `class_entropy`, bits; `failures`; `protocol`.

    Raises:
        InputError: a tokenizer without a whole-image code or of another system, pictures without class labels, or other
            classes in the two splits.
    """
    check_other_pictures(what.data, what.split, what.reference_split)
    if importlib.util.find_spec("scipy") is None:
        raise InputError("clustering accuracy needs scipy: pip install scipy")
    points: list[EmergencePoint] = []
    sets: tuple[LabelledPictures, LabelledPictures] | None = None
    for name in dict.fromkeys(what.models):
        loaded = load_image_tokenizer(name)
        model = loaded.model
        if not isinstance(model, ImageTokenizer) or not model.config.has_image_level:
            raise InputError(f"{name} has no whole-image code of pictogram's own, in which classes could emerge")
        reference, measured = (
            labelled_pictures(what.data, split, loaded.processor, what.max_images, what.seed, what.label_column)
            for split in (what.reference_split, what.split)
        )
        sets = with_same_classes(reference, measured)
        points += _own_points(what, name, model, *sets)
    assert sets is not None
    with progress_bar("pixels", what.num_seeds * len(what.codebook_sizes)) as advance:
        points += _kmeans_points(what, PIXELS, "", [flat_pixels(pictures.dataset) for pictures in sets], sets, advance)
    report = {
        "points": [asdict(point) for point in points],
        "summary": _summary(points),
        "class_entropy": entropy(torch.bincount(sets[1].classes)),
        "failures": [failure for pictures in sets for failure in pictures.failures],
        "protocol": {
            "library": f"pictogram {version('pictogram')}, torch {version('torch')}",
            **asdict(what),
            "num_images": len(sets[1].classes),
            "num_reference_images": len(sets[0].classes),
            "class_column": sets[1].labels.column,
            "kmeans": f"k-means++, {_NUM_ITERATIONS} steps, pixels and features on {_NUM_COMPONENTS} components",
        },
    }
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "emergence.json", report)
    return report


def _own_points(
    what: EmergenceEvaluation, name: str, model: ImageTokenizer, reference: LabelledPictures, measured: LabelledPictures
) -> Iterator[EmergencePoint]:
    with progress_bar("codes", len(reference.dataset) + len(measured.dataset)) as advance:
        views = [_views(model, pictures.dataset, advance) for pictures in (reference, measured)]
    size, sets = model.config.codebook_sizes[0], (reference, measured)
    yield _point(OWN, name, size, (views[0].codes, views[1].codes), sets)
    kinds = {LATENTS: [view.latents for view in views], FEATURES: [view.features for view in views]}
    with progress_bar("k-means", len(kinds) * what.num_seeds * len(what.codebook_sizes)) as advance:
        for of_what, clouds in kinds.items():
            yield from _kmeans_points(what, of_what, name, clouds, sets, advance)


@dataclass(frozen=True, eq=False)
class _Views:
    """Codes (N,), latents (N, D) of the whole-image level, and features (N, F) of the coarsest grid of cells."""

    codes: torch.Tensor
    latents: torch.Tensor
    features: torch.Tensor


@torch.no_grad()
def _views(model: ImageTokenizer, dataset: PixelDataset, advance: Callable[[int], None]) -> _Views:
    parts: list[tuple[torch.Tensor, ...]] = []
    for rows in row_batches(len(dataset), 64):
        pixels = dataset.pixels(rows).to(model.device)
        latents = model.encoding(pixels).next_latents()
        codes = model.choose_codes(0, latents, None)
        features = model.encoder.grid_features(pixels)[1]
        parts.append((codes.flatten().cpu(), latents.flatten(1).float().cpu(), features.flatten(1).float().cpu()))
        advance(len(rows))
    return _Views(*(torch.cat(part) for part in zip(*parts, strict=True)))


def _kmeans_points(
    what: EmergenceEvaluation,
    of_what: str,
    model: str,
    clouds: Sequence[torch.Tensor],
    sets: tuple[LabelledPictures, LabelledPictures],
    advance: Callable[[int], None],
) -> Iterator[EmergencePoint]:
    """Clusters of the first cloud, for both."""
    if clouds[0].shape[1] > _NUM_COMPONENTS:
        components = PrincipalComponents.of(clouds[0], _NUM_COMPONENTS)
        clouds = [components.project(cloud) for cloud in clouds]
    for size in what.codebook_sizes:
        for seed in range(what.seed, what.seed + what.num_seeds):
            found = {
                KMEANS: kmeans(clouds[0], size, num_iterations=_NUM_ITERATIONS, seed=seed, num_starts=what.num_starts),
                BALANCED: balanced_kmeans(clouds[0], size, seed=seed, num_starts=what.num_starts),
            }
            for method, centroids in found.items():
                first, second = (nearest(cloud, centroids) for cloud in clouds)
                yield _point(f"{method} {of_what}", model, size, (first, second), sets)
            advance(1)


def _point(
    method: str,
    model: str,
    size: int,
    codes: tuple[torch.Tensor, torch.Tensor],
    sets: tuple[LabelledPictures, LabelledPictures],
) -> EmergencePoint:
    reference, measured = sets
    names = len(measured.labels.names)
    found = measure_classes(codes[1], measured.classes, size, names, (codes[0], reference.classes))
    assert found is not None and found.majority_vote is not None
    return EmergencePoint(
        method=method,
        model=model,
        codebook_size=size,
        bits=entropy(torch.bincount(codes[1], minlength=size)),
        information=found.mutual_information,
        held_out_information=held_out_information(
            (codes[0], reference.classes), (codes[1], measured.classes), size, names
        ),
        majority_vote=found.majority_vote,
        nmi=found.nmi,
        ari=adjusted_rand_index(codes[1], measured.classes),
        accuracy=clustering_accuracy(codes[1], measured.classes),
    )


def _summary(points: Sequence[EmergencePoint]) -> list[dict[str, Any]]:
    """One entry for each method and K: mean, and standard deviation over models and seeds where there are several."""
    groups: dict[tuple[str, int], list[EmergencePoint]] = {}
    for point in points:
        groups.setdefault((point.method, point.codebook_size), []).append(point)
    names = [name for name in asdict(points[0]) if name not in ("method", "model", "codebook_size")]
    entries: list[dict[str, Any]] = []
    for (method, size), group in groups.items():
        values = {name: [getattr(point, name) for point in group] for name in names}
        spread = {name: stdev(value) if len(value) > 1 else math.nan for name, value in values.items()}
        entries.append(
            {
                "method": method,
                "codebook_size": size,
                "num_runs": len(group),
                "mean": {name: mean(value) for name, value in values.items()},
                "spread": {name: None if math.isnan(value) else value for name, value in spread.items()},
            }
        )
    return entries
