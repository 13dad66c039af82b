r"""The first samples of several systems under each other, a column a class, nothing chosen.

python benchmarks/fashion_pictures.py --out samples.png "real=fashion/train.parquet" \
  "pictogram=evidence/pictogram-30-0/evaluation-test/samples" "GAN=evidence/gan-30-0/peer/samples"
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pictogram import InputError
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.pictures import picture_grid, save_picture


def first_of_each_class(data: str, count: int) -> dict[str, list[Image.Image]]:
    """By name of the class, the first `count` pictures of the split train.

    Args:
        data: a folder, or a file of parquet.
        count: pictures of a class.

    Raises:
        InputError: the pictures have no labels, or a class has fewer.
    """
    source = load_image_source(data, "train")
    labels = source.class_labels()
    if labels is None:
        raise InputError(f"pictures with class labels are needed, those of {data} have none")
    found: dict[str, list[Image.Image]] = {}
    for number, name in enumerate(labels.names):
        rows = (labels.values == number).nonzero().squeeze(1)[:count].tolist()
        if len(rows) < count:
            raise InputError(f"{count} pictures a class are needed, {data} has {len(rows)} of {name}")
        found[name] = [source.read(row) for row in rows]
    return found


def compare(systems: dict[str, str], count: int, cell: int) -> Image.Image:
    """`count` rows for each system, its name below the last of them.

    Args:
        systems: data by name of the system.
        count: rows.
        cell: side of a picture's place, pixels.

    Raises:
        InputError: a number below 1, classes differ, or see `first_of_each_class`.
    """
    if count < 1 or cell < 1:
        raise InputError(f"rows and cell must be at least 1, got {count} and {cell}")
    pictures = {system: first_of_each_class(data, count) for system, data in systems.items()}
    header = list(next(iter(pictures.values())))
    for system, found in pictures.items():
        if list(found) != header:
            raise InputError(f"systems must have the same classes, {system} has {list(found)} and not {header}")
    rows = [[found[name][row] for name in header] for found in pictures.values() for row in range(count)]
    titles = [
        [system, *[""] * (len(header) - 1)] if row == count - 1 else None for system in pictures for row in range(count)
    ]
    return picture_grid(rows, titles=titles, header=header, cell=cell)


def _named(text: str) -> tuple[str, str]:
    name, separator, data = text.partition("=")
    if not (name and separator and data):
        raise InputError(f"systems are given as NAME=DATA, got {text!r}")
    return name, data


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", metavar="NAME=DATA")
    parser.add_argument("--rows", type=int, default=2, help="of each system")
    parser.add_argument("--cell", type=int, default=84, help="side of a picture's place, pixels")
    parser.add_argument("--out", type=Path, required=True, help="PNG file")
    given = parser.parse_args(arguments)
    try:
        systems = dict(map(_named, given.systems))
        if len(systems) < len(given.systems):
            raise InputError(f"every system needs a name of its own, got {', '.join(given.systems)}")
        save_picture(compare(systems, given.rows, given.cell), given.out)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
