"""What was drawn for names, for people to look at: rows of samples, a row for each kind, and a list of the mistaken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from ..tokenizer.image_processor import to_images
from ..tokenizer.images import ClassLabels
from ..tokenizer.pictures import picture_grid
from .name_accuracy import NamedSamples

_ROW = 10
_UNGROUPED_ROWS = 6
_CELL = 64

Groups = Mapping[str, Sequence[int]]
"""Numbers of samples by the name of their group."""


def grouped(samples: NamedSamples, labels: ClassLabels) -> dict[str, list[int]]:
    """Samples of each class that has any, in the order in which they were drawn.

    Args:
        samples: they.
        labels: of all training pictures; samples of a picture without one are left out.
    """
    classes = labels.values[samples.rows].tolist()
    numbers = {name: [n for n, found in enumerate(classes) if found == c] for c, name in enumerate(labels.names)}
    return {name: found for name, found in numbers.items() if found}


def accuracy_by_group(samples: NamedSamples, groups: Groups) -> dict[str, dict[str, Any]]:
    """`name_accuracy` and `num_captions` of each group."""
    recalled = samples.recalled
    return {
        name: {"name_accuracy": sum(recalled[n] for n in numbers) / len(numbers), "num_captions": len(numbers)}
        for name, numbers in groups.items()
    }


def mistaken(samples: NamedSamples) -> list[dict[str, str]]:
    """Samples that are nearer to another picture: their `caption`, and a caption of that one as `nearest`."""
    several = zip(samples.captions, samples.nearest, samples.recalled, strict=True)
    return [{"caption": caption, "nearest": found[0]} for caption, found, right in several if not right]


def sample_grid(samples: NamedSamples, groups: Groups | None = None) -> Image.Image:
    """The first samples of each group, a row each, with their captions; nothing is chosen.

    A sample that is nearer to another training picture has that one's caption behind its own.

    Args:
        samples: they.
        groups: see `grouped`; None shows the first sixty.
    """
    pictures = to_images(samples.pixels / 127.5 - 1)
    titles = [
        caption if right else f"{caption} (like {found[0] or 'one without words'})"
        for caption, found, right in zip(samples.captions, samples.nearest, samples.recalled, strict=True)
    ]
    everything = range(min(len(pictures), _ROW * _UNGROUPED_ROWS))
    rows = [numbers[:_ROW] for numbers in (groups or {}).values()] or [
        everything[first : first + _ROW] for first in range(0, len(everything), _ROW)
    ]
    return picture_grid(
        [[pictures[n] for n in row] for row in rows], titles=[[titles[n] for n in row] for row in rows], cell=_CELL
    )
