"""Do the vectors of a tokenizer cluster? Level by level, beside one Gaussian, and over tokenizers of several seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from ..hub.errors import InputError
from ..hub.files import write_json
from ..tokenizer.cluster_statistics import BesideGaussian, beside_gaussian
from ..tokenizer.clustering_scores import adjusted_rand_index
from ..tokenizer.kmeans import kmeans
from ..tokenizer.level_latents import LevelLatents, level_latents
from ..tokenizer.loading import LoadedImageTokenizer, load_image_tokenizer
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.progress import progress_bar
from ..tokenizer.quantizer import nearest
from .bundle_pipeline import check_positive
from .picture_sample import PictureSample, picture_sample

STABLE = 0.6
"""Adjusted Rand index from which two clusterings count as the same."""
APART = 2.0
"""Silhouettes of clusters are at least so many times a Gaussian's."""

YES, PARTLY, NO = "yes", "partly", "no"


@dataclass(frozen=True)
class ClusterEvaluation:
    """What is measured.

    Attributes:
        models: image tokenizers, for example of several seeds.
        data: the pictures, see `load_image_source`.
        split: of them.
        num_clusters: of k-means.
        max_images: most pictures, drawn by the seed.
        num_draws: of points and of Gaussians.
        points_per_draw: most points of a draw.
        seed: of all draws.
    """

    models: Sequence[str]
    data: str
    split: str = "test"
    num_clusters: int = 10
    max_images: int = 10_000
    num_draws: int = 20
    points_per_draw: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.models:
            raise InputError("expected at least one image tokenizer, got none")
        for name in ("num_clusters", "max_images", "num_draws", "points_per_draw"):
            check_positive(name, getattr(self, name))


def evaluate_clusters(what: ClusterEvaluation, output: Path | None = None) -> dict[str, Any]:
    """Measures all tokenizers.

    Args:
        what: is measured.
        output: folder for `clusters.json`; None writes nothing.

    Returns:
        `models`: by name, one entry a level with its statistics (see `BesideGaussian`), the codes' `verdict` and
        `reasons`; `agreement`: of every two tokenizers with the same grids, the adjusted Rand index of their codes and
        of k-means of their latents, one entry a level; `protocol`.

    Raises:
        InputError: a tokenizer that is not of this package, other data than pictures of one size, or too few of them.
    """
    loaded = {name: _own(load_image_tokenizer(name)) for name in dict.fromkeys(what.models)}
    latents: dict[str, list[LevelLatents]] = {}
    models: dict[str, Any] = {}
    sample: PictureSample | None = None
    for name, (tokenizer, model) in loaded.items():
        sample = picture_sample(what.data, what.split, tokenizer.processor, what.max_images, what.seed)
        with progress_bar("latents", len(sample.dataset)) as advance:
            most = 4 * what.points_per_draw
            latents[name] = level_latents(model, sample.dataset, most=most, seed=what.seed, progress=advance)
        with progress_bar("clusters", what.num_draws * len(latents[name])) as advance:
            models[name] = [_level(level, what, advance) for level in latents[name]]
    assert sample is not None
    report = {
        "models": models,
        "agreement": [
            {"models": [first, second], "levels": _agreement(latents[first], latents[second], what)}
            for first, second in combinations(latents, 2)
            if _grids(loaded[first][1]) == _grids(loaded[second][1])
        ],
        "failures": sample.listed,
        "protocol": {
            "library": f"pictogram {version('pictogram')}, torch {version('torch')}",
            **asdict(what),
            "models": list(loaded),
            "num_images": len(sample.dataset),
            "gaussian": "mean and covariance of the same latents",
        },
    }
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / "clusters.json", report)
    return report


def verdict(statistics: dict[str, BesideGaussian]) -> tuple[str, list[str]]:
    """Whether points cluster, in a word and in sentences.

    Yes: denser in places than one Gaussian (the Hopkins statistic's intervals do not meet), silhouettes at least twice
    a Gaussian's and outside its interval, and the same clusters from other starts. No: not even the first. Partly: all
    between.
    """
    hopkins, silhouette, stability = (statistics[name] for name in ("hopkins", "silhouette", "stability"))
    is_uneven = hopkins.low > hopkins.gaussian_high
    is_apart = silhouette.low > silhouette.gaussian_high and silhouette.points >= APART * silhouette.gaussian
    is_stable = stability.points >= STABLE
    reasons = [
        f"{'denser in places than' if is_uneven else 'not to be told from'} one Gaussian "
        f"(Hopkins {hopkins.points:.2f}, {hopkins.gaussian:.2f})",
        f"borders are {'clearer' if is_apart else 'hardly clearer'} than a Gaussian's "
        f"(silhouette {silhouette.points:.2f}, {silhouette.gaussian:.2f})",
        f"other starts find {'the same' if is_stable else 'other'} clusters "
        f"(adjusted Rand index {stability.points:.2f})",
    ]
    if is_uneven and is_apart and is_stable:
        return YES, reasons
    return (PARTLY if is_uneven else NO), reasons


def _own(loaded: LoadedImageTokenizer) -> tuple[LoadedImageTokenizer, ImageTokenizer]:
    if not isinstance(loaded.model, ImageTokenizer):
        raise InputError(f"{loaded.name} is another system's tokenizer; latents are known of pictogram's own only")
    return loaded, loaded.model


def _grids(model: ImageTokenizer) -> tuple[tuple[int, int], ...]:
    side = model.config.image_size
    return model.config.grids(side, side)


def _level(level: LevelLatents, what: ClusterEvaluation, advance: Any) -> dict[str, Any]:
    statistics = beside_gaussian(
        level.latents,
        what.num_clusters,
        num_draws=what.num_draws,
        points_per_draw=what.points_per_draw,
        seed=what.seed,
        progress=advance,
    )
    word, reasons = verdict(statistics)
    return {
        "num_points": len(level.latents),
        "codes_in_use": int(level.codes.unique().numel()),
        "statistics": {name: asdict(value) for name, value in statistics.items()},
        "verdict": word,
        "reasons": reasons,
    }


def _agreement(
    first: list[LevelLatents], second: list[LevelLatents], what: ClusterEvaluation
) -> list[dict[str, float]]:
    """The same cells of the same pictures in two tokenizers."""
    return [
        {
            "codes": adjusted_rand_index(one.codes, other.codes),
            "clusters": adjusted_rand_index(*(_clusters(level.latents, what) for level in (one, other))),
        }
        for one, other in zip(first, second, strict=True)
    ]


def _clusters(latents: torch.Tensor, what: ClusterEvaluation) -> torch.Tensor:
    return nearest(latents, kmeans(latents, what.num_clusters, num_iterations=30, seed=what.seed))
