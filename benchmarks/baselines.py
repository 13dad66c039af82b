"""What a learned image tokenizer is measured against at equal bytes: codecs without a network.

python benchmarks/baselines.py --data zalando-datasets/fashion_mnist --json baselines.json --plot baselines.png

Static codes only, with ideal code lengths: KLT, patch VQ and ECVQ; and standard picture files without their headers.
benchmarks/README.md says what each of them is. Prints tables; the points are in the JSON.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from gains import compare, comparison_table, curve_table, tokenizer_points

from pictogram import InputError
from pictogram.hub.files import read_json_object, write_json
from pictogram.pipelines.codec_squares import spread
from pictogram.pipelines.curve_baselines import LAYOUTS, BaselineSettings, baselines, quick
from pictogram.pipelines.curve_files import file_points
from pictogram.pipelines.curve_pictures import Pictures, load_pictures
from pictogram.pipelines.curve_plot import check_plotting, plot_curves
from pictogram.pipelines.curve_points import Point, by_codec

RATES = (20, 40, 50, 66, 80, 160, 320)
"""Bytes per picture of the printed table."""

WAYS = ("less header", "sheet")
"""How files lose their headers; a codec's curve takes the better of both."""


MAX_TEST = {"aligned": 10000, "crops": 1000}
"""Pictures to measure, by layout."""

MAX_FILES = 1000
"""Pictures to measure as standard files, spread over the test pictures."""


def measure(
    pictures: Pictures, settings: BaselineSettings, max_files: int, qualities: Sequence[int] | None
) -> Iterator[Point]:
    """All points of all codecs.

    Raises:
        InputError: no patch size divides the pictures, or a block does not.
    """
    for baseline in baselines(pictures, settings):
        yield from baseline.measure()
    for point in file_points(pictures.test[spread(len(pictures.test), max_files)], WAYS, qualities):
        codec, way = point.codec.split(maxsplit=1)
        yield replace(point, codec=codec, setting=f"{point.setting} {way}")


def run(arguments: argparse.Namespace) -> None:
    if arguments.plot:
        check_plotting()
    settings, max_test, max_files, qualities = LAYOUTS[arguments.layout], MAX_TEST[arguments.layout], MAX_FILES, None
    if arguments.quick:
        settings, max_test, max_files, qualities = quick(settings), 100, 25, (5, 20, 60)
    tokenizers = [
        point for path in arguments.tokenizer for point in tokenizer_points(read_json_object(path), path.stem)
    ]
    pictures = load_pictures(arguments.data, settings.max_train, max_test)
    started, points = time.process_time(), []
    for point in measure(pictures, settings, max_files, qualities):
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
        curves = by_codec(points) | by_codec(tokenizers)
        plot_curves(curves, arguments.plot, emphasised=[point.codec for point in tokenizers])


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder with parquet files, or a dataset's name")
    parser.add_argument("--layout", choices=tuple(LAYOUTS), default="aligned", help="statistics by place or not")
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
