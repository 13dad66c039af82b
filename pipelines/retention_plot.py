"""What adaptations bring on new pictures and cost on old ones, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .curve_plot import check_plotting, save_figure


def plot_retention(report: dict[str, Any], path: Path) -> None:
    """Gain on new pictures against the change on old ones, one point a run; of tasks, PSNR of each after each.

    Args:
        report: of `evaluate_retention`.
        path: of a picture file.

    Raises:
        InputError: matplotlib is not installed.
    """
    check_plotting()
    from matplotlib.figure import Figure

    count = max(1, len(report["tasks"]))
    figure = Figure(figsize=(6 * count, 5), layout="constrained")
    for place, sequence in enumerate(report["tasks"], 1):
        _plot_tasks(figure.add_subplot(1, count, place), sequence)
    if report["runs"]:
        _plot_runs(figure.add_subplot(1, 1, 1), report["runs"])
    save_figure(figure, path)


def _plot_runs(axes: Any, runs: list[dict[str, Any]]) -> None:
    for mode in dict.fromkeys(run["mode"] for run in runs):
        chosen = [run for run in runs if run["mode"] == mode]
        share = sum(run["report"]["share_changed"] for run in chosen) / len(chosen)
        changes, gains = [run["change_on_old"] for run in chosen], [run["gain"] for run in chosen]
        axes.scatter(changes, gains, s=60, label=f"{mode}: {share:.1%} of the numbers changed")
    axes.axvline(0, color="grey", linewidth=1)
    axes.set(xlabel="change on old pictures, dB", ylabel="gain on new pictures, dB")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _plot_tasks(axes: Any, sequence: dict[str, Any]) -> None:
    for task, group in enumerate(sequence["groups"]):
        column = [row[task] for row in sequence["psnr"]]
        axes.plot(range(len(column)), column, marker=".", label=f"classes {', '.join(map(str, group))}")
    axes.set(xlabel="tasks learned", ylabel="PSNR in dB", title=f"{sequence['mode']}, seed {sequence['seed']}")
    axes.set_xticks(range(len(sequence["groups"])))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
