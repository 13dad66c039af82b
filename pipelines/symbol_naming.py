"""Names after symbols: how few labelled pictures name the symbols that emerged without labels.

A child sorts first and learns words later. Here the symbols are there already; a few pictures with labels say what each
is called, and all other pictures take the name of their symbol.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from torch.nn import functional as F

from ..hub.errors import InputError
from ..hub.files import write_json
from ..lm.bundle import Bundle
from ..lm.documents import text_to_image_prompt
from ..lm.first_code import score_first_codes
from ..tokenizer.balanced_kmeans import balanced_kmeans
from ..tokenizer.batches import derived_generator
from ..tokenizer.kmeans import kmeans
from ..tokenizer.level_latents import level_latents
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.principal_components import PrincipalComponents
from ..tokenizer.progress import progress_bar
from ..tokenizer.quantizer import nearest
from .bundle_pipeline import check_positive
from .labelled_pictures import (
    LabelledPictures,
    check_other_pictures,
    check_several_classes,
    flat_pixels,
    labelled_pictures,
    with_same_classes,
)
from .picture_sample import picture_sample

SYMBOL, POSTERIOR, KMEANS = "whole-image code", "whole-image code by the prior", "k-means of pixels"
BALANCED = "balanced k-means of pixels"
PROBE, PIXEL_PROBE = "linear probe of latents", "linear probe of pixels"

_NUM_COMPONENTS = 64
_NUM_STARTS = 3
"""Tries of each clustering of pixels, as the codes of `--symbol-steps` have; the one with the least error counts."""
_MOST_PICTURES = 60_000
"""Pictures that clusterings of pixels see."""
_PROBE_STRENGTH = 10.0
"""Inverse of the probes' regularisation, for points whose distances from their mean are about 1."""


@dataclass(frozen=True)
class NamingEvaluation:
    """What is measured.

    Attributes:
        model: bundle with a whole-image code; its prior may have seen pictures alone.
        data: pictures with class labels, see `load_image_source`.
        split: to name.
        reference_split: holds the labelled pictures.
        labels_per_class: how many of them.
        max_images: most pictures of a split, drawn by the seed.
        num_draws: of the labelled pictures.
        seed: of all draws.
    """

    model: str
    data: str
    split: str = "test"
    reference_split: str = "train"
    labels_per_class: Sequence[int] = (1, 5, 20, 50)
    max_images: int = 2000
    num_draws: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_images", "num_draws"):
            check_positive(name, getattr(self, name))
        if not self.labels_per_class or min(self.labels_per_class) < 1:
            raise InputError(f"labels_per_class must be at least 1, got {list(self.labels_per_class)}")


def evaluate_naming(what: NamingEvaluation, output: Path | None = None) -> dict[str, Any]:
    """Names pictures by few labels, in six ways.

    - whole-image code: the most frequent label of its labelled pictures; a code without any takes the name of the code
      with the nearest vector that has one.
    - whole-image code by the prior: p(code | codes of the next level) by Bayes' rule in place of the code itself.
    - k-means of pixels, balanced k-means of pixels: as many clusters of all reference pictures, named alike.
    - linear probes: logistic regression of the whole-image latents and of 64 principal components of the pixels.

    Returns:
        `summary`: mean and spread of the accuracy over the draws for each method and number of labels; `protocol`.

    Raises:
        InputError: scikit-learn is missing, there is no whole-image code, or a class has too few pictures.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise InputError("linear probes need scikit-learn: pip install scikit-learn")
    check_other_pictures(what.data, what.split, what.reference_split)
    bundle = Bundle.from_pretrained(what.model)
    if bundle.vocabulary.order != "level" and bundle.vocabulary.num_levels > 2:
        raise InputError(
            f"{what.model} has its codes in the order {bundle.vocabulary.order!r}; the codes of the next level can be "
            'scored by themselves in the order "level" only'
        )
    model = bundle.image_tokenizer
    if not isinstance(model, ImageTokenizer) or not model.config.has_image_level:
        raise InputError(f"{what.model} has no whole-image code of pictogram's own, which could be named")
    reference, measured = (
        labelled_pictures(what.data, split, bundle.image_processor, what.max_images, what.seed)
        for split in (what.reference_split, what.split)
    )
    reference, measured = with_same_classes(reference, measured)
    check_several_classes(reference)
    # Drawn before any work: a class may have too few.
    drawn = {
        (count, draw): draw_labelled(reference.classes, count, derived_generator(what.seed, "labelled", count, draw))
        for count in what.labels_per_class
        for draw in range(what.num_draws)
    }
    ways = _ways(what, bundle, model, reference, measured)
    results: dict[tuple[str, int], list[float]] = {}
    for (count, _), rows in drawn.items():
        for name, way in ways.items():
            predicted = way(rows, reference.classes[rows])
            accuracy = float((predicted == measured.classes).double().mean())
            results.setdefault((name, count), []).append(accuracy)
    report = {
        "summary": [
            {"method": name, "labels_per_class": count, "accuracy": mean(values), "spread": _spread(values)}
            for (name, count), values in results.items()
        ],
        "failures": [*reference.failures, *measured.failures],
        "protocol": {
            "library": f"pictogram {version('pictogram')}, torch {version('torch')}",
            **asdict(what),
            "num_images": len(measured.classes),
            "num_reference_images": len(reference.classes),
            "class_column": measured.labels.column,
        },
    }
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "naming.json", report)
    return report


def draw_labelled(classes: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """(classes * count,) rows: so many of each class that occurs.

    Args:
        classes: (N,) int64 of 0 or more.
        count: of each.
        generator: of the draw.

    Raises:
        InputError: a class has fewer.
    """
    found: list[torch.Tensor] = []
    for label in classes.unique():
        rows = (classes == label).nonzero().squeeze(1)
        if len(rows) < count:
            raise InputError(
                f"{count} labelled pictures a class are asked for, but class {int(label)} has {len(rows)}; ask for "
                "fewer with --labels-per-class, or raise --max-images"
            )
        found.append(rows[torch.randperm(len(rows), generator=generator)[:count]])
    return torch.cat(found)


def named_by_symbols(
    labelled: torch.Tensor, labels: torch.Tensor, measured: torch.Tensor, vectors: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """Classes of pictures by the names of their symbols.

    Args:
        labelled: (n, K) chances of each symbol in the labelled pictures; rows sum to 1.
        labels: (n,) int64.
        measured: (m, K) of the pictures to name.
        vectors: (K, D), which tell where a symbol that has no name takes one from.
        num_classes: Y.

    Returns:
        (m,) int64.
    """
    counts = labelled.double().T @ F.one_hot(labels, num_classes).double()  # (K, Y)
    has_name = counts.sum(1) >= 0.5
    if not has_name.any():  # soft symbols, spread thinly: the best there are
        has_name = counts.sum(1) >= counts.sum(1).max()
    named = has_name.nonzero().squeeze(1)
    source = named[nearest(vectors.float(), vectors[named].float())]  # (K,), a named symbol is its own
    source[named] = named
    chances = counts[source] / counts[source].sum(1, keepdim=True)
    return (measured.double() @ chances).argmax(1)


Way = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Rows of labelled pictures and their labels -> classes of the measured ones."""


def _ways(
    what: NamingEvaluation,
    bundle: Bundle,
    model: ImageTokenizer,
    reference: LabelledPictures,
    measured: LabelledPictures,
) -> dict[str, Way]:
    sets, size = (reference, measured), model.config.codebook_sizes[0]
    with progress_bar("codes", sum(len(pictures.classes) for pictures in sets)) as advance:
        levels = [level_latents(model, pictures.dataset, progress=advance) for pictures in sets]
    codes = [F.one_hot(level[0].codes, size) for level in levels]
    with progress_bar("prior", sum(len(pictures.classes) for pictures in sets)) as advance:
        posteriors = [_posteriors(bundle, model, pictures, advance) for pictures in sets]
    # The tokenizer has seen all pictures of its training, so clusters of pixels may see all of the split.
    everything = picture_sample(what.data, what.reference_split, bundle.image_processor, _MOST_PICTURES, what.seed)
    cloud = flat_pixels(everything.dataset)
    components = PrincipalComponents.of(cloud, _NUM_COMPONENTS)
    cloud, projected = components.project(cloud), [components.project(flat_pixels(each.dataset)) for each in sets]
    centroids = {
        KMEANS: kmeans(cloud, size, num_iterations=30, seed=what.seed, num_starts=_NUM_STARTS),
        BALANCED: balanced_kmeans(cloud, size, seed=what.seed, num_starts=_NUM_STARTS),
    }
    names = len(measured.labels.names)

    def symbols(members: Sequence[torch.Tensor], vectors: torch.Tensor) -> Way:
        return lambda rows, labels: named_by_symbols(members[0][rows], labels, members[1], vectors, names)

    def probe(clouds: Sequence[torch.Tensor]) -> Way:
        # One scale for all directions: few labelled pictures cannot tell wide ones from noise.
        middle, width = clouds[0].mean(0), clouds[0].std(0).norm()
        first, second = ((cloud - middle) / width for cloud in clouds)
        return lambda rows, labels: _probe(first[rows], labels, second)

    vectors = model.code_vectors(0).cpu()
    return {
        SYMBOL: symbols(codes, vectors),
        POSTERIOR: symbols(posteriors, vectors),
        **{
            name: symbols([F.one_hot(nearest(each, places), size) for each in projected], places)
            for name, places in centroids.items()
        },
        PROBE: probe([level[0].latents for level in levels]),
        PIXEL_PROBE: probe(projected),
    }


@torch.no_grad()
def _posteriors(
    bundle: Bundle, model: ImageTokenizer, pictures: LabelledPictures, advance: Callable[[int], None]
) -> torch.Tensor:
    """(N, K) p(whole-image code | codes of the next level), float64, by the prior without words."""
    vocabulary = bundle.vocabulary
    found: list[torch.Tensor] = []
    for row in range(len(pictures.classes)):
        codes = model.encode(pictures.dataset.pixels([row]).to(model.device))
        size = vocabulary.size_of([level.shape[-2:] for level in codes])
        next_level = [level.cpu().flatten() for level in codes[1:2]]
        following = vocabulary.codes_to_ids(1, next_level[0]) if next_level else torch.zeros(0, dtype=torch.int64)
        prompt = text_to_image_prompt(vocabulary, (), size)
        scores = score_first_codes(bundle.prior, vocabulary, size, prompt, following)
        found.append(torch.softmax(scores.cpu(), 0))
        advance(1)
    return torch.stack(found)


def _probe(points: torch.Tensor, labels: torch.Tensor, measured: torch.Tensor) -> torch.Tensor:
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(C=_PROBE_STRENGTH, max_iter=1000).fit(points.numpy(), labels.numpy())
    return torch.from_numpy(fitted.predict(measured.numpy()))


def _spread(values: Sequence[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
