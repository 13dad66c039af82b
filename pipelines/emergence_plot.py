"""Class information against bits, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .curve_plot import check_plotting, save_figure


def plot_emergence(report: dict[str, Any], path: Path) -> None:
    """What codes tell of classes against the bits they take, one line a method, mean over models and seeds.

    Args:
        report: of `evaluate_emergence`.
        path: of a picture file.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_plotting()
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5.5), layout="constrained")
    measures = {"held_out_information": "bits about the class, held out", "majority_vote": "majority vote"}
    for place, (measure, label) in enumerate(measures.items(), 1):
        axes = figure.add_subplot(1, 2, place, xlabel="bits of a code", ylabel=label)
        for method in dict.fromkeys(entry["method"] for entry in report["summary"]):
            means = [entry["mean"] for entry in report["summary"] if entry["method"] == method]
            pairs = sorted((values["bits"], values[measure]) for values in means)
            marker = "*" if len(pairs) == 1 else "."
            axes.plot([x for x, _ in pairs], [y for _, y in pairs], marker=marker, markersize=12, label=method)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    save_figure(figure, path)
