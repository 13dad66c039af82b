"""Pictures of a split as a tokenizer sees them, some of them where there are too many."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.images import Failure, find_unreadable, load_image_source
from ..tokenizer.pixel_dataset import PixelDataset
from ..tokenizer.progress import progress_bar


@dataclass(frozen=True)
class PictureSample:
    """Pictures that can be read.

    Attributes:
        split: what they are called.
        dataset: they, in the split's order.
        failures: those that cannot.
    """

    split: str
    dataset: PixelDataset
    failures: list[Failure]

    @property
    def listed(self) -> list[str]:
        """The failures, each as "key (reason)"."""
        return [f"{failure.key} ({failure.reason})" for failure in self.failures]


def picture_sample(
    data: str, split: str, processor: ImageTokenizerImageProcessorPil, most: int | None = None, seed: int = 0
) -> PictureSample:
    """Opens pictures for a measurement.

    Args:
        data: see `load_image_source`.
        split: of them.
        processor: makes their tensors.
        most: pictures, drawn by the seed; None takes all.
        seed: of the draw, which depends on nothing else but the number of pictures.

    Raises:
        InputError: there are none, or none that can be read.
    """
    source = load_image_source(data, split)
    if not len(source):
        raise InputError(f"split {split} of {data} holds no pictures")
    if most is not None and most < len(source):
        order = torch.randperm(len(source), generator=derived_generator(seed, "evaluate"))
        source = source.select(sorted(order[:most].tolist()))
    with progress_bar("read", len(source)) as advance:
        failures = find_unreadable(source, advance)
    return PictureSample(split, PixelDataset(source.without(failures), processor), failures)
