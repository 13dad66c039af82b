"""Pictures of some classes of a labelled data set: an old domain and a new one, or tasks one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..hub.command_line import entries
from ..hub.errors import InputError
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.pixel_dataset import PixelDataset
from .labelled_pictures import LabelledPictures


def parse_classes(name: str, text: str) -> list[list[int]]:
    """Groups of classes by their numbers: ranges joined by "+", groups apart by commas.

    Args:
        name: of the option, for messages.
        text: for example "0-4" or "0-1,2-3,4+7+9".

    Raises:
        InputError: something else, or a class twice.

    Example:
        >>> parse_classes("tasks", "0-2,3+5")
        [[0, 1, 2], [3, 5]]
    """
    groups = [[number for part in group.split("+") for number in _range(name, part)] for group in entries(text)]
    known = [number for group in groups for number in group]
    if len({*known}) < len(known):
        raise InputError(f"{name} must name each class once, got {text!r}")
    return groups


def _range(name: str, text: str) -> range:
    first, dash, last = text.strip().partition("-")
    last = last if dash else first
    if not first.isdecimal() or not last.isdecimal() or int(last) < int(first):
        raise InputError(f'{name} must be numbers of classes such as "0-4" or "0+2+4", got {text!r}')
    return range(int(first), int(last) + 1)


@dataclass(frozen=True)
class ClassSelection:
    """Chooses pictures by their class.

    Attributes:
        pictures: all of them, with labels.
        processor: makes their tensors.
    """

    pictures: LabelledPictures
    processor: ImageTokenizerImageProcessorPil

    def of(self, classes: list[int]) -> PixelDataset:
        """The pictures of these classes, in the set's order.

        Raises:
            InputError: a class that the data does not have, or no picture of any of them.
        """
        names = self.pictures.labels.names
        if unknown := [number for number in classes if number >= len(names)]:
            raise InputError(f"there are the classes 0 to {len(names) - 1}, got {unknown[0]}")
        rows = torch.isin(self.pictures.classes, torch.tensor(classes)).nonzero().squeeze(1)
        if not len(rows):
            raise InputError(f"no picture is of the classes {classes}")
        return PixelDataset(self.pictures.dataset.source.select(rows.tolist()), self.processor)
