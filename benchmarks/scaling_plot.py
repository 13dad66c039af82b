"""What `scaling.py` measured as a picture: bits against codes seen, a line for each size, and the law through them.

python benchmarks/scaling_plot.py scaling.json scaling.png
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from scaling_law import MILLION, law

from pictogram import InputError
from pictogram.hub.files import read_json_object
from pictogram.pipelines.curve_plot import check_plotting, save_figure

_CURVE_POINTS = 50


def plot(report: dict[str, Any], path: Path) -> None:
    """Draws a report.

    Args:
        report: of `scaling.py`.
        path: of a PNG file.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_plotting()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot(xscale="log", xlabel="codes seen, millions", ylabel="bits a held-out picture")
    for number, (size, points) in enumerate(by_size(report["points"]).items()):
        seen = [point["codes_seen"] / MILLION for point in points]
        bits = [point["bits"]["value"] for point in points]
        label = f"{size}, {points[0]['parameters'] / MILLION:.2g} million weights"
        axes.plot(seen, bits, "o", color=f"C{number}", label=label)
        if "law" in report:
            axes.plot(*curve(report["law"], points), color=f"C{number}", alpha=0.6)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_figure(figure, path)


def by_size(points: Sequence[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Points of each size, smallest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for point in sorted(points, key=lambda point: (point["parameters"], point["codes_seen"])):
        found.setdefault(point["size"], []).append(point)
    return found


def curve(fitted: dict[str, Any], points: Sequence[dict[str, Any]]) -> tuple[list[float], list[float]]:
    """Codes in millions and bits of the law, over what was measured and no further."""
    first, last = (points[place]["codes_seen"] / MILLION for place in (0, -1))
    codes = torch.logspace(math.log10(first), math.log10(last), _CURVE_POINTS, dtype=torch.float64)
    numbers = torch.tensor([fitted[name] for name in ("E", "A", "B", "alpha", "beta")], dtype=torch.float64).log()
    sizes = torch.full_like(codes, points[0]["parameters"] / MILLION)
    return codes.tolist(), law(numbers, sizes, codes).tolist()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="file that scaling.py --json wrote")
    parser.add_argument("picture", type=Path, help="PNG file")
    given = parser.parse_args(arguments)
    try:
        plot(read_json_object(given.report), given.picture)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
