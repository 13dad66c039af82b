"""`pictogram symbols retention`: the modes of adaptation side by side, from the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from ..hub.command_line import command, entries, numbers, option, table_console
from ..tokenizer.adaptation_config import MODES, AdaptationSettings
from .curve_plot import check_plotting
from .retention_plot import plot_retention
from .symbol_retention import RetentionEvaluation, evaluate_retention


@dataclass(kw_only=True)
class RetentionConfig(AdaptationSettings):
    """The options of the command: those of an adaptation, and what is compared."""

    mode: str = option(",".join(MODES), "Modes to compare, with commas.", flag="--modes")
    start_from: str = option("image-tokenizer", "Folder of the tokenizer to adapt, or its name.", flag="--from")
    data: str = option("embedded", "The new pictures: a folder, parquet, or any `datasets` name.")
    reference: str = option("", "The old pictures.")
    split: str = option("train", "Split to learn from, and to count old codes in.")
    measured_split: str = option("test", "Split to measure on.")
    classes: str = option("", 'Old classes of the data, such as "0-4" or "0+2", in place of --reference.')
    new_classes: str = option("", "New classes of the data.")
    tasks: str = option("", 'Groups of classes, one after the other, such as "0-1,2-3"; the tokenizer knows the first.')
    full_learning_rates: str = option("0.002,0.004,0.008", "Tried in the mode full, of which the best counts.")
    num_seeds: int = option(1, "Runs of each mode, with other seeds.", at_least=1)
    max_images: int = option(0, "Most pictures of a split, drawn by the seed; 0 takes all.", at_least=0)
    output: str = option("", "Folder for retention.json and a plot.")

    def evaluation(self) -> RetentionEvaluation:
        """What is asked for.

        Raises:
            InputError: modes, rates or classes that cannot be.
        """
        shared = {each.name: getattr(self, each.name) for each in fields(AdaptationSettings) if each.name != "mode"}
        return RetentionEvaluation(
            model=self.start_from,
            data=self.data,
            reference=self.reference,
            split=self.split,
            measured_split=self.measured_split,
            classes=self.classes,
            new_classes=self.new_classes,
            tasks=self.tasks,
            modes=entries(self.mode),
            full_learning_rates=numbers("full_learning_rates", self.full_learning_rates),
            num_seeds=self.num_seeds,
            max_images=self.max_images or None,
            settings=AdaptationSettings(**shared),
        )


def run_retention(config: RetentionConfig) -> dict[str, Any]:
    """Compares, writes `retention.json` and `retention.png` if a folder is named, and returns the report."""
    what = config.evaluation()
    output = Path(config.output).expanduser() if config.output else None
    if output is not None:
        check_plotting()
    report = evaluate_retention(what, output)
    if output is not None:
        plot_retention(report, output / "retention.png")
    return report


def print_retention(report: dict[str, Any]) -> None:
    """Prints what `run_retention` returns, on standard output: a row a mode, or a table of tasks a sequence."""
    console = table_console()
    if report["summary"]:
        console.print(_modes_table(report))
    for sequence in report["tasks"]:
        last = len(sequence["groups"]) - 1
        console.print(f"{sequence['mode']}, seed {sequence['seed']}: PSNR in dB", highlight=False)
        table = Table("after task", *(f"task {task}" for task in range(last + 1)), box=SIMPLE_HEAD)
        for task, row in enumerate(sequence["psnr"]):
            table.add_row(str(task), *(f"{value:.2f}" for value in row))
        console.print(table)
        console.print(f"backward transfer {sequence['backward_transfer']:+.2f} dB", highlight=False)


def _modes_table(report: dict[str, Any]) -> Table:
    before = report["runs"][0]["report"]
    names = ("mode", "new, dB", "gain", "of full", "old, dB", "change", "moved", "codes", "bits")
    table = Table(*names, box=SIMPLE_HEAD)
    codes = sum(level["codes_before"] for level in before["levels"])
    psnr = [f"{before[name]['psnr_before'][-1]:.2f}" for name in ("new", "old")]
    bits = sum(before["new"]["static_bits_before"])
    table.add_row("before", psnr[0], "", "", psnr[1], "", "", str(codes), f"{bits:.1f}")
    for entry in report["summary"]:
        mean, spread = entry["mean"], entry["spread"]
        table.add_row(
            entry["mode"],
            f"{mean['psnr_new']:.2f}",
            _with_spread(mean["gain"], spread["gain"]),
            "" if mean["recovered"] is None else f"{mean['recovered']:.1%}",
            f"{mean['psnr_old']:.2f}",
            _with_spread(mean["change_on_old"], spread["change_on_old"]),
            f"{100 * mean['share_changed']:.3g}%",
            f"{mean['num_codes']:.0f}",
            f"{mean['bits_new']:.1f}",
        )
    return table


def _with_spread(value: float, spread: float | None) -> str:
    return f"{value:+.2f}" if spread is None else f"{value:+.2f} +- {spread:.2f}"


retention = command(
    RetentionConfig,
    run_retention,
    "retention",
    """What adapting a tokenizer to new pictures brings there and costs on the old ones, mode by mode.

    Example: pictogram symbols retention --from image-tokenizer --data zalando-datasets/fashion_mnist --classes 0-4
    --new-classes 5-9 --out retention
    """,
    show=print_retention,
)
