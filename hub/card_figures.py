"""Measured figures in a card: as Markdown, and as the `model-index` by which the Hub lists them beside the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One number for the Hub.

    Attributes:
        task: the Hub's name of a task, such as "text-to-image".
        data: name of what was measured on.
        split: of it.
        metric: short name, such as "psnr".
        name: the metric in words, with its unit.
        value: the number.
    """

    task: str
    data: str
    split: str
    metric: str
    name: str
    value: float


@dataclass(frozen=True)
class CardFigures:
    """What was measured of a model.

    Attributes:
        paragraphs: Markdown; none if nothing was measured.
        index: for `model_index`.
        limits: sentences about what the model does not do.
    """

    paragraphs: Sequence[str] = field(default_factory=list)
    index: Sequence[Figure] = field(default_factory=list)
    limits: Sequence[str] = field(default_factory=list)

    def __add__(self, other: CardFigures) -> CardFigures:
        """Both, these first."""
        return CardFigures(
            [*self.paragraphs, *other.paragraphs], [*self.index, *other.index], [*self.limits, *other.limits]
        )


def model_index(model: str, figures: Sequence[Figure]) -> dict[str, Any]:
    """A `model-index` for the YAML of a card, as {"model-index": ...}; empty without figures.

    Args:
        model: name of the model.
        figures: grouped by task and data in the result, in the order in which they come.

    Example:
        >>> index = model_index("noto", [Figure("text-to-image", "embedded", "train", "bits", "bits a picture", 81.25)])
        >>> index["model-index"][0]["results"][0]["metrics"]
        [{'type': 'bits', 'name': 'bits a picture', 'value': 81.25}]
    """
    if not figures:
        return {}
    results: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for figure in figures:
        metric = {"type": figure.metric, "name": figure.name, "value": round(figure.value, 4)}
        results.setdefault((figure.task, figure.data, figure.split), []).append(metric)
    entries = [
        {"task": {"type": task}, "dataset": {"type": data, "name": data, "split": split}, "metrics": metrics}
        for (task, data, split), metrics in results.items()
    ]
    return {"model-index": [{"name": model, "results": entries}]}


def figures_section(figures: CardFigures) -> str:
    """Markdown with its heading; empty if nothing was measured."""
    return "\n## Figures\n\n" + "\n\n".join(figures.paragraphs) + "\n" if figures.paragraphs else ""


def limits_section(sentences: Sequence[str]) -> str:
    """Markdown with its heading."""
    return "\n## Limits\n\n" + "\n".join(f"- {sentence}" for sentence in sentences if sentence) + "\n"
