"""Holds pictures of Fashion-MNIST out before any model sees them: to choose by, so that the test set is for the end.

python benchmarks/fashion_splits.py --data zalando-datasets/fashion_mnist --out fashion

Writes train.parquet (55,000 rows), validation.parquet (5,000, as many of each class) and test.parquet. Which pictures
are held out depends on their own pixels alone, so on no order, no file format and no machine.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from datasets import Dataset, Image

from pictogram import InputError
from pictogram.hub.files import atomic_files
from pictogram.tokenizer.sources import open_rows

HELD_OUT = 5000


def held_out_rows(digests: Sequence[str], classes: Sequence[int], count: int) -> list[int]:
    """The rows with the smallest digests of each class, `count` in all; equal pictures of a class stay together.

    Example:
        >>> held_out_rows(["d", "a", "c", "b"], [0, 0, 1, 1], 2)
        [1, 3]
        >>> held_out_rows(["a", "a", "c", "b"], [0, 0, 1, 1], 2)
        [0, 1, 3]
    """
    kinds = sorted(set(classes))
    chosen: list[int] = []
    for kind in kinds:
        ordered = sorted(digests[row] for row, found in enumerate(classes) if found == kind)
        taken = set(ordered[: count // len(kinds)])
        chosen += [row for row, found in enumerate(classes) if found == kind and digests[row] in taken]
    return sorted(chosen)


def pixel_digests(rows: Dataset) -> list[str]:
    """A sha256 of each picture's pixels."""
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in rows["image"]]


def _decoded(data: str, split: str) -> Dataset:
    """Rows of a split whose pictures are read as pictures."""
    rows = open_rows(data, split).dataset
    if missing := {"image", "label"} - set(rows.column_names):
        raise InputError(f"{data} must have the columns image and label, {sorted(missing)} are missing")
    return rows.cast_column("image", Image())


def write_splits(data: str, folder: Path, count: int = HELD_OUT) -> dict[str, int]:
    """Writes the three splits.

    Returns:
        Rows by split.

    Raises:
        InputError: there is no such data, or too little of it.
    """
    rows, test = (_decoded(data, split) for split in ("train", "test"))
    if len(rows) <= count:
        raise InputError(f"{data} must have more than {count} training pictures, got {len(rows)}")
    validation = held_out_rows(pixel_digests(rows), rows["label"], count)
    kept = torch.ones(len(rows), dtype=torch.bool)
    kept[validation] = False
    parts = {
        "train": rows.select(kept.nonzero().squeeze(1).tolist()),
        "validation": rows.select(validation),
        "test": test,
    }
    with atomic_files(folder) as temporary:
        for name, part in parts.items():
            part.to_parquet(str(temporary / f"{name}.parquet"))
    return {name: len(part) for name, part in parts.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="zalando-datasets/fashion_mnist")
    parser.add_argument("--out", type=Path, default=Path("fashion"))
    given = parser.parse_args(arguments)
    try:
        print(write_splits(given.data, given.out))
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
