"""Pictures with class labels, for measurements that compare codes with classes."""

from __future__ import annotations

from dataclasses import dataclass

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
    data: str, split: str, processor: ImageTokenizerImageProcessorPil, most: int | None = None, seed: int = 0
) -> LabelledPictures:
    """Opens pictures; those without a label are left out. Arguments as for `picture_sample`.

    Raises:
        InputError: no picture has a label, or see `picture_sample`.
    """
    sample = picture_sample(data, split, processor, most, seed)
    source = sample.dataset.source
    labels = source.class_labels()
    if labels is None or not (labels.values >= 0).any():
        raise InputError(f"split {split} of {data} has no class labels to compare codes with")
    rows = (labels.values >= 0).nonzero().squeeze(1)
    if len(rows) == len(labels.values):
        return LabelledPictures(sample.dataset, labels, sample.listed)
    dataset = PixelDataset(source.select(rows.tolist()), processor)
    return LabelledPictures(dataset, ClassLabels(labels.column, labels.names, labels.values[rows]), sample.listed)


def check_same_classes(reference: LabelledPictures, measured: LabelledPictures) -> None:
    """Raises InputError where two splits have other classes."""
    names = [len(pictures.labels.names) for pictures in (reference, measured)]
    if reference.labels.names != measured.labels.names:
        raise InputError(f"both splits must have the same classes, got {names[0]} and {names[1]} names that differ")


def flat_pixels(dataset: PixelDataset) -> torch.Tensor:
    """(N, C H W) float32 in [-1, 1], of pictures of one size."""
    return torch.cat([dataset.pixels(rows).flatten(1) for rows in row_batches(len(dataset), 1024)])
