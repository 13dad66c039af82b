"""Latents in the plane. Such pictures show what there might be to see; they are no evidence of clusters."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from ..hub.errors import InputError
from ..tokenizer.level_latents import level_latents
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.progress import progress_bar
from .curve_plot import check_plotting, save_figure
from .picture_sample import picture_sample
from .symbol_clusters import ClusterEvaluation

_NUM_POINTS = 2000


def check_illustrating() -> None:
    """Raises InputError where scikit-learn or matplotlib is not installed, before work is done in vain."""
    check_plotting()
    if importlib.util.find_spec("sklearn") is None:
        raise InputError("a t-SNE picture needs scikit-learn: pip install scikit-learn")


def illustrate(what: ClusterEvaluation, output: Path) -> list[Path]:
    """Draws one t-SNE picture a level of the first tokenizer: `tsne-0.png` and so on.

    Colours are classes where the data has class labels, else codes.

    Raises:
        InputError: scikit-learn or matplotlib is not installed.
    """
    check_illustrating()
    loaded = load_image_tokenizer(what.models[0])
    assert isinstance(loaded.model, ImageTokenizer)  # it was measured before
    sample = picture_sample(what.data, what.split, loaded.processor, what.max_images, what.seed)
    labels = sample.dataset.source.class_labels()
    paths: list[Path] = []
    levels = level_latents(loaded.model, sample.dataset, most=_NUM_POINTS, seed=what.seed)
    with progress_bar("t-SNE", len(levels)) as advance:
        for number, level in enumerate(levels):
            colours = level.codes if labels is None else labels.values[level.rows]
            meaning = "codes" if labels is None else labels.column
            title = f"level {number}, coloured by {meaning}. An illustration: t-SNE is no evidence of clusters"
            paths.append(output / f"tsne-{number}.png")
            _draw(level.latents, colours, title, paths[-1], what.seed)
            advance(1)
    return paths


def _draw(latents: torch.Tensor, colours: torch.Tensor, title: str, path: Path, seed: int) -> None:
    from matplotlib.figure import Figure
    from sklearn.manifold import TSNE

    perplexity = min(30, (len(latents) - 1) / 3)
    plane = TSNE(perplexity=perplexity, random_state=seed % 2**32, init="pca").fit_transform(latents.numpy())
    figure = Figure(figsize=(8, 8), layout="constrained")
    axes = figure.add_subplot(title=title, xticks=[], yticks=[])
    axes.scatter(plane[:, 0], plane[:, 1], c=colours.numpy(), cmap="nipy_spectral", s=6, linewidths=0)
    save_figure(figure, path)
