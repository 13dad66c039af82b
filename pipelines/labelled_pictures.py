"""Pictures with class labels, for measurements that compare codes with classes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..hub.errors import InputError
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.images import ClassLabels
from ..tokenizer.pixel_dataset import PixelDataset
from ..tokenizer.reconstructions import row_batches
from .picture_sample import picture_sample


@dataclass(frozen=True, eq=False)
class LabelledPictures:
    """Pictures of a split, all with a label.

    Attributes:
        dataset: they.
        labels: theirs, one a row of the dataset.
        failures: pictures that cannot be read, each as "key (reason)".
    """

    dataset: PixelDataset
    labels: ClassLabels
    failures: list[str]

    @property
    def classes(self) -> torch.Tensor:
        """(N,) int64, 0 or more."""
        return self.labels.values


def labelled_pictures(
    data: str,
    split: str,
    processor: ImageTokenizerImageProcessorPil,
    most: int | None = None,
    seed: int = 0,
    column: str | None = None,
) -> LabelledPictures:
    """Opens pictures; those without a label are left out.

    Args:
        data: see `picture_sample`, like the next four.
        split: of them.
        processor: makes their tensors.
        most: pictures; None takes all.
        seed: of their draw.
        column: where the labels stand, see `ImageSource.class_labels`.

    Raises:
        InputError: no picture has a label, there is no such column, or see `picture_sample`.
    """
    sample = picture_sample(data, split, processor, most, seed)
    source = sample.dataset.source
    labels = source.class_labels(column)
    if labels is None or not (labels.values >= 0).any():
        raise InputError(f"split {split} of {data} has no class labels to compare codes with")
    rows = (labels.values >= 0).nonzero().squeeze(1)
    if len(rows) == len(labels.values):
        return LabelledPictures(sample.dataset, labels, sample.listed)
    dataset = PixelDataset(source.select(rows.tolist()), processor)
    return LabelledPictures(dataset, replace(labels, values=labels.values[rows]), sample.listed)


def with_same_classes(
    reference: LabelledPictures, measured: LabelledPictures
) -> tuple[LabelledPictures, LabelledPictures]:
    """Two splits whose classes have the same numbers; of texts, those of either.

    Raises:
        InputError: class labels that differ.
    """
    sets = (reference, measured)
    if all(pictures.labels.are_texts for pictures in sets):
        names = sorted({name for pictures in sets for name in pictures.labels.names})
        first, second = (replace(pictures, labels=pictures.labels.renamed(names)) for pictures in sets)
        return first, second
    if reference.labels.names != measured.labels.names:
        counts = [len(pictures.labels.names) for pictures in sets]
        raise InputError(f"both splits must have the same classes, got {counts[0]} and {counts[1]} names that differ")
    return sets


def check_other_pictures(data: str, split: str, reference_split: str) -> None:
    """Raises InputError where what is measured would be what was learned from."""
    if split == reference_split:
        raise InputError(f"pictures to learn from and to measure on must differ, got split {split} for both")
    if Path(data).expanduser().is_file():
        raise InputError(
            f"{data} is one file, which is one split; give a folder that has {reference_split} and {split}"
        )


def check_several_classes(pictures: LabelledPictures) -> None:
    """Raises InputError where there is nothing that a classifier could tell apart."""
    if (count := len(pictures.classes.unique())) < 2:
        raise InputError(f"pictures of two classes at least are needed to learn from, got {count}")


def flat_pixels(dataset: PixelDataset) -> torch.Tensor:
    """(N, C H W) float32 in [-1, 1], of pictures of one size."""
    return torch.cat([dataset.pixels(rows).flatten(1) for rows in row_batches(len(dataset), 1024)])
