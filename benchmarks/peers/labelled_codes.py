"""Two levels of codes with the class of every picture, from a dataset of codes, or random ones to try a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.batches import derived_generator
from pictogram.tokenizer.codes_dataset import CodesDataset, load_codes
from pictogram.tokenizer.loading import LoadedImageTokenizer

_LABEL_COLUMN = "label"


@dataclass(frozen=True, eq=False)
class LabelledCodes:
    """Codes of N pictures.

    Attributes:
        top: (N, h, w) int64.
        bottom: (N, h', w') int64.
        classes: (N,) int64.
        names: of the classes.
        picture_size: height and width of the pictures as they came, pixels.
    """

    top: torch.Tensor
    bottom: torch.Tensor
    classes: torch.Tensor
    names: tuple[str, ...]
    picture_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.classes)

    def batch(self, rows: Sequence[int] | torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Top codes, bottom codes and classes of some rows."""
        numbers = torch.as_tensor(rows)
        return self.top[numbers], self.bottom[numbers], self.classes[numbers]


def load_labelled_codes(path: str, split: str, tokenizer: LoadedImageTokenizer) -> LabelledCodes:
    """Opens a split of a dataset of codes.

    Args:
        path: folder or name of the dataset; `tokenize --caption-column label` keeps the classes and names them.
        split: one of its splits.
        tokenizer: the one that made the codes.

    Raises:
        InputError: the codes have not two levels, rows lack a class, or see `load_codes`.
    """
    dataset = load_codes(path, split, tokenizer=tokenizer)
    if len(dataset.shared_grids) != 2:
        raise InputError(f"expected codes of two levels, got the grids {list(dataset.shared_grids)}")
    classes = _classes(dataset)
    top, bottom = dataset.codes(range(len(dataset)))
    return LabelledCodes(top, bottom, classes, _names(dataset, classes), _picture_size(dataset))


def _picture_size(dataset: CodesDataset) -> tuple[int, int]:
    sizes = set(zip(dataset.dataset["height"], dataset.dataset["width"], strict=True))
    if len(sizes) != 1:
        raise InputError(f"samples have one size; split {dataset.split} has pictures of {len(sizes)}")
    return sizes.pop()


def _classes(dataset: CodesDataset) -> torch.Tensor:
    columns = dataset.dataset.column_names
    if _LABEL_COLUMN not in columns:
        raise InputError(f"split {dataset.split} has no column {_LABEL_COLUMN!r}; its columns: {', '.join(columns)}")
    values = list(dataset.dataset[_LABEL_COLUMN])
    if not all(isinstance(value, int) and value >= 0 for value in values):
        raise InputError(f"every row of split {dataset.split} must have a class, a whole number of at least 0")
    return torch.tensor(values)


def _names(dataset: CodesDataset, classes: torch.Tensor) -> tuple[str, ...]:
    """The caption of the first picture of every class."""
    first = [(classes == number).nonzero()[:1].flatten().tolist() for number in range(int(classes.max()) + 1)]
    names = tuple(captions[0] for rows in first for captions in dataset.captions_of(rows))
    if len(set(names)) != len(first):
        raise InputError(
            f"expected a picture and a caption of its own for each of {len(first)} classes, got the captions {names}; "
            f"tokenize with --caption-column {_LABEL_COLUMN}"
        )
    return names


def random_codes(
    count: int, grids: Sequence[tuple[int, int]], codebook_sizes: Sequence[int], num_classes: int
) -> LabelledCodes:
    """Codes that say nothing."""
    generator = derived_generator(0, "codes")
    top, bottom = (
        torch.randint(size, (count, *grid), generator=generator)
        for size, grid in zip(codebook_sizes, grids, strict=True)
    )
    classes = torch.randint(num_classes, (count,), generator=generator)
    names = tuple(f"class {number}" for number in range(num_classes))
    return LabelledCodes(top, bottom, classes, names, (16, 16))
