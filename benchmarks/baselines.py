"""What a learned image tokenizer is measured against at equal bytes: codecs without a network.

python benchmarks/baselines.py --data zalando-datasets/fashion_mnist --json baselines.json --plot baselines.png

Static codes only, with ideal code lengths: KLT, patch VQ and ECVQ; and standard picture files without their headers.
benchmarks/README.md says what each of them is. Prints tables; the points are in the JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from curves import Point, compare, comparison_table, curve_table, plot, tokenizer_points
from image_files import file_points
from klt import klt_points
from patch_vq import patch_vq_points
from patches import Pictures, load_pictures

from pictogram import InputError
from pictogram.hub.files import read_json_object, write_json

RATES = (20, 40, 50, 66, 80, 160, 320)
"""Bytes per picture of the printed table."""


@dataclass(frozen=True)
class Settings:
    """What is measured, and on how much.

    Attributes:
        max_train: pictures to learn from, at most.
        max_test: pictures to measure.
        max_files: pictures to measure as standard files, spread over the test pictures.
        per_place: codebooks and histograms of their own for every place in the picture, or one for all places.
        blocks: sizes of KLT blocks in pixels; 0 is the whole picture.
        steps: of the KLT's quantizer, in 8-bit values.
        codebooks: (rows, columns, K) of the patch quantizers, in pixels; those that do not tile the pictures are left
            out.
        max_points: patches to learn a codebook from, at most.
        weights: lambda of ECVQ, squared error per bit.
        qualities: of standard files.
    """

    max_train: int
    max_test: int
    max_files: int
    per_place: bool
    blocks: tuple[int, ...]
    steps: tuple[float, ...]
    codebooks: tuple[tuple[int, int, int], ...]
    max_points: int
    weights: tuple[float, ...] = (0, 250, 500, 1000, 2000, 4000, 8000)
    qualities: tuple[int, ...] = (0, 1, 2, 5, 10, 20, 30, 40, 60)


ALIGNED = Settings(
    max_train=60000,
    max_test=10000,
    max_files=1000,
    per_place=True,
    blocks=(0,),
    steps=(20, 30, 40, 50, 65, 80, 100, 120, 150, 200, 250, 350, 500, 700),
    codebooks=((7, 7, 256), (7, 4, 256), (4, 4, 256), (4, 4, 1024), (4, 2, 256), (2, 2, 64), (2, 2, 256)),
    max_points=30000,
)
"""For small pictures of objects in the same place, like clothes or digits: places differ."""

CROPS = Settings(
    max_train=5000,
    max_test=1000,
    max_files=1000,
    per_place=False,
    blocks=(8, 16, 32),
    steps=(20, 30, 40, 55, 75, 100, 140, 200, 280, 400, 560, 800),
    codebooks=((8, 8, 256), (8, 8, 1024), (8, 4, 1024), (4, 4, 64), (4, 4, 256), (4, 4, 1024)),
    max_points=50000,
    weights=(0, 1000, 3000, 8000, 20000, 50000),
)
"""For crops of photographs: all places are alike."""


def quick(settings: Settings) -> Settings:
    """The same in seconds, for a look and for tests; its figures mean nothing."""
    return replace(
        settings,
        max_train=500,
        max_test=100,
        max_files=25,
        blocks=settings.blocks[:1],
        steps=(30, 120, 480),
        codebooks=((4, 4, 16),),
        max_points=2000,
        weights=(0, 1000, 4000),
        qualities=(5, 20, 60),
    )


def measure(pictures: Pictures, settings: Settings) -> Iterator[Point]:
    """All points of all codecs.

    Raises:
        InputError: no patch size divides the pictures, or a block does not.
    """
    _, height, width, _ = pictures.test.shape
    for block_size in settings.blocks:
        yield from klt_points(pictures, block_size or height, block_size or width, settings.steps)
    codebooks = [(*patch, size) for *patch, size in settings.codebooks if not (height % patch[0] or width % patch[1])]
    if not codebooks:
        raise InputError(f"no patch of {settings.codebooks} tiles pictures of {height}x{width}")
    for rows, columns, size in codebooks:
        yield from patch_vq_points(
            pictures,
            (rows, columns),
            size,
            settings.weights,
            per_place=settings.per_place,
            max_points=settings.max_points,
        )
    spread = max(1, len(pictures.test) // settings.max_files)
    yield from file_points(pictures.test[::spread][: settings.max_files], settings.qualities)


def run(arguments: argparse.Namespace) -> None:
    settings = {"aligned": ALIGNED, "crops": CROPS}[arguments.layout]
    settings = quick(settings) if arguments.quick else settings
    tokenizers = [
        point for path in arguments.tokenizer for point in tokenizer_points(read_json_object(path), path.stem)
    ]
    pictures = load_pictures(arguments.data, settings.max_train, settings.max_test)
    started, points = time.process_time(), []
    for point in measure(pictures, settings):
        points.append(point)
        seconds = time.process_time() - started
        print(f"{seconds:6.1f} s  {point.bytes:8.2f} B  {point.psnr:6.2f} dB  {point.codec}, {point.setting}")
    print(f"\n{curve_table(points, RATES)}")
    gains = compare(tokenizers, points)
    if gains:
        print(f"\n{comparison_table(gains)}")
    if arguments.json:
        report = {
            "data": arguments.data,
            "settings": asdict(settings),
            "num_train": len(pictures.train),
            "num_test": len(pictures.test),
            "points": [asdict(point) for point in points],
            "gains": [asdict(gain) for gain in gains],
        }
        write_json(arguments.json, report)
    if arguments.plot:
        plot(points, tokenizers, arguments.plot)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder with parquet files, or a dataset's name")
    parser.add_argument("--layout", choices=("aligned", "crops"), default="aligned", help="statistics by place or not")
    parser.add_argument("--tokenizer", type=Path, nargs="*", default=[], help="JSON of `pictogram evaluate tokenizer`")
    parser.add_argument("--json", type=Path, help="write the points here")
    parser.add_argument("--plot", type=Path, help="draw the curves here; needs matplotlib")
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the figures mean nothing")
    try:
        run(parser.parse_args(argv))
    except InputError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
