"""The table of what `fashion_evidence.py` measured: one row a system and budget, means over seeds and their spread.

"Real pictures" are as many training pictures, scored like samples.

python benchmarks/fashion_table.py docs/results/fashion-*.json
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pictogram import InputError
from pictogram.hub.card import markdown_table
from pictogram.hub.files import read_json_object

REAL, SAMPLES = "real", "samples"
"""Arms that have rows: training pictures beside those of the test, and what was drawn."""

Read = Callable[[dict[str, Any], str], float | None]


@dataclass(frozen=True)
class Column:
    """A figure of every run.

    Attributes:
        title: of the column.
        read: a run and the name of an arm -> the number; None where it has none.
        digits: behind the point.
    """

    title: str
    read: Read
    digits: int


def _accuracy(run: dict[str, Any], arm: str) -> float | None:
    found = run["evaluation"]["cas"].get(arm)
    return found and found["accuracy"]["value"]


def _of_arm(read: Callable[[dict[str, Any], str], float]) -> Read:
    return lambda run, arm: read(run["evaluation"], arm)


def _of_samples(read: Callable[[dict[str, Any]], float | None]) -> Read:
    return lambda run, arm: read(run) if arm == SAMPLES else None


def _share(arm: str) -> Read:
    return _of_samples(lambda run: run["evaluation"]["cas"].get(f"share_of_{arm}"))


def _ratio(reference: str, quantile: str) -> Read:
    def read(run: dict[str, Any]) -> float | None:
        distances = run["evaluation"]["memorisation"]["pixels"]
        return distances[SAMPLES][quantile] / distances[reference][quantile] if reference in distances else None

    return _of_samples(read)


def seconds_for_60000(run: dict[str, Any]) -> float:
    """Processor seconds that 60,000 samples take at the rate of those that were drawn."""
    drawn = run["evaluation"]["seconds"] or run["peer"]["sampling"]
    return drawn["cpu_seconds"] / drawn["num_images"] * 60_000


def _training_minutes(run: dict[str, Any]) -> float | None:
    return None if run["training_cpu_seconds"] is None else run["training_cpu_seconds"] / 60


COLUMNS = (
    Column("CAS", _accuracy, 4),
    Column("CAS, decoded", _of_samples(lambda run: _accuracy(run, "decoded")), 4),
    Column("of decoded", _share("decoded"), 3),
    Column("of real", _share("real"), 3),
    Column("recognised", _of_arm(lambda found, arm: found["recognised"][arm]), 3),
    Column("FD per class", _of_arm(lambda found, arm: found["fd"][arm]["per_class"]), 2),
    Column("FD global", _of_arm(lambda found, arm: found["fd"][arm]["global"]), 2),
    Column("precision", _of_arm(lambda found, arm: found["precision_recall"][arm]["precision"]), 3),
    Column("recall", _of_arm(lambda found, arm: found["precision_recall"][arm]["recall"]), 3),
    Column("nearest, percentile 1, of real", _ratio("real test", "percentile_1"), 2),
    Column("median, of real", _ratio("real test", "median"), 2),
    Column("percentile 1, of decoded", _ratio("decoded test", "percentile_1"), 2),
    Column("median, of decoded", _ratio("decoded test", "median"), 2),
    Column("bits a picture", _of_samples(lambda run: run["bits"] and run["bits"]["value"]), 1),
    Column("60,000 samples, core minutes", _of_samples(lambda run: seconds_for_60000(run) / 60), 1),
    Column("weights, millions", _of_samples(lambda run: sum(run["parameters"].values()) / 1e6), 2),
    Column("training, core minutes", _of_samples(_training_minutes), 0),
)


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: real pictures, then a row for each system and budget, in the order in which they come."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["system"], run["minutes"]), []).append(run)
    check_alike(groups)
    by_seed = list({run["seed"]: run for run in runs}.values())  # the same pictures, whoever is scored beside them
    rows = [["real pictures", "-", str(len(by_seed)), *(_cell(column, by_seed, REAL) for column in COLUMNS)]]
    rows += [
        [system, f"{minutes} min", str(len(group)), *(_cell(column, group, SAMPLES) for column in COLUMNS)]
        for (system, minutes), group in groups.items()
    ]
    return markdown_table(["system", "budget, 2 cores", "seeds", *(column.title for column in COLUMNS)], rows)


def check_alike(groups: dict[tuple[str, int], list[dict[str, Any]]]) -> None:
    """Raises InputError where runs must not be averaged, or compared."""
    protocols = {_protocol(run) for group in groups.values() for run in group}
    if len(protocols) > 1:
        raise InputError(f"runs were scored differently: {' and '.join(map(str, sorted(protocols)))}")
    for (system, minutes), group in groups.items():
        if len({run["seed"] for run in group}) < len(group):
            raise InputError(f"two runs of {system}, {minutes} minutes, have the same seed")
        if len({_recipe(run) for run in group}) > 1:
            raise InputError(f"runs of {system}, {minutes} minutes, were trained by other commands")


def _protocol(run: dict[str, Any]) -> str:
    protocol = run["evaluation"]["protocol"]
    names = ("split", "num_images", "num_steps", "num_classifiers", "guidance_scale", "feature_seed")
    return ", ".join(f"{name} {protocol[name]}" for name in names)


def _recipe(run: dict[str, Any]) -> tuple[str, ...]:
    """The training commands, but for the seed and the folder."""
    commands = [stage["command"] for stage in run["stages"] if stage["trains"]]
    folder = f"{run['system']}-{run['minutes']}-{run['seed']}"
    return tuple(re.sub(r"--seed \d+", "", command.replace(folder, "")) for command in commands)


def _cell(column: Column, runs: Sequence[dict[str, Any]], arm: str) -> str:
    values = [column.read(run, arm) for run in runs]
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    mean = f"{fmean(known):.{column.digits}f}"
    return mean if len(set(known)) == 1 else f"{mean} ± {stdev(known):.{column.digits}f}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", nargs="+", type=Path)
    given = parser.parse_args(arguments)
    try:
        print(table([run for path in given.reports for run in read_json_object(path)["runs"]]))
    except (InputError, KeyError, TypeError) as error:
        parser.error(f"not what fashion_evidence.py writes: {error}")


if __name__ == "__main__":
    main()
