"""Sets of pictures with classes that samples are compared as: real, decoded from their codes, or drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from ..hub.fingerprint import fingerprint
from ..tokenizer.batches import derived_generator
from ..tokenizer.image_processor import to_8bit
from ..tokenizer.interface import TokenizesImages
from ..tokenizer.padding import Box
from ..tokenizer.pixel_dataset import PixelDataset
from ..tokenizer.progress import progress_bar
from ..tokenizer.reconstructions import row_batches
from .labelled_pictures import LabelledPictures

_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class PictureArm:
    """Pictures of one size and their classes.

    Attributes:
        pixels: (N, C, H, W) uint8.
        classes: (N,) int64.
    """

    pixels: torch.Tensor
    classes: torch.Tensor

    def __len__(self) -> int:
        return len(self.classes)

    def of(self, rows: torch.Tensor) -> PictureArm:
        """Some of them: (n,) row numbers or (N,) booleans."""
        return PictureArm(self.pixels[rows], self.classes[rows])

    def of_class(self, number: int) -> torch.Tensor:
        """(n, C, H, W) uint8: those of one class."""
        return self.pixels[self.classes == number]

    @property
    def fingerprint(self) -> str:
        """Of every pixel and class."""
        return fingerprint({"pixels": self.pixels, "classes": self.classes}, {})


def one_box(dataset: PixelDataset) -> Box:
    """Where all pictures lie in their tensors; around them there is only padding.

    Raises:
        InputError: they lie differently, so that they are of several sizes.
    """
    boxes = {dataset.content_box(row) for row in range(len(dataset))}
    if len(boxes) != 1:
        sizes = sorted({f"{box.height}x{box.width}" for box in boxes})
        raise InputError(f"samples are compared with pictures of one size, got {', '.join(sizes[:5])}")
    return boxes.pop()


def real_arm(pictures: LabelledPictures, box: Box) -> PictureArm:
    """Pictures as they are, cut to `box`."""
    parts = [
        box.of(to_8bit(pictures.dataset.pixels(rows))).to(torch.uint8)
        for rows in row_batches(len(pictures.dataset), _AT_ONCE)
    ]
    return PictureArm(torch.cat(parts), pictures.classes)


@torch.no_grad()
def decoded_arm(
    pictures: LabelledPictures, rows: Sequence[int], model: TokenizesImages, box: Box, title: str
) -> PictureArm:
    """What a tokenizer makes of some pictures, cut to `box`.

    Args:
        pictures: of them.
        rows: which.
        model: in evaluation mode.
        box: of `one_box`.
        title: of the progress bar.
    """
    parts = []
    with progress_bar(title, len(rows)) as advance:
        for part in row_batches(len(rows), _AT_ONCE):
            pixel_values = pictures.dataset.pixels([rows[place] for place in part]).to(model.device)
            parts.append(box.of(to_8bit(model.decode(model.encode(pixel_values)))).to(torch.uint8).cpu())
            advance(len(part))
    return PictureArm(torch.cat(parts), pictures.classes[torch.tensor(rows)])


def balanced_rows(classes: torch.Tensor, count: int, num_classes: int, seed: int) -> list[int]:
    """Rows with equally many of each class, as far as there are enough.

    Args:
        classes: (N,) int64.
        count: rows in all; the first classes have one more where it does not divide.
        num_classes: C.
        seed: of the draw.

    Returns:
        Row numbers in ascending order; fewer than `count` where a class has too few pictures.

    Example:
        >>> balanced_rows(torch.tensor([0, 0, 1, 0, 1]), 4, 2, seed=0)
        [0, 2, 3, 4]
    """
    chosen: list[int] = []
    for number, wanted in enumerate(class_counts(count, num_classes)):
        rows = (classes == number).nonzero().squeeze(1)
        order = torch.randperm(len(rows), generator=derived_generator(seed, "balanced rows", number))
        chosen += rows[order[:wanted]].tolist()
    return sorted(chosen)


def class_counts(count: int, num_classes: int) -> list[int]:
    """How many of each class a balanced set has; the first classes one more where it does not divide.

    Example:
        >>> class_counts(5, 3)
        [2, 2, 1]
    """
    return [count // num_classes + (number < count % num_classes) for number in range(num_classes)]
