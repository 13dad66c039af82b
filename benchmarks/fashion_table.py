"""The table of what `fashion_evidence.py` measured: one row a system and budget, means over seeds and their spread.

"Real pictures" are as many training pictures, scored like samples.

python benchmarks/fashion_table.py docs/results/fashion-*.json
"""

from __future__ import annotations

import argparse
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


def _ratio(space: str, quantile: str) -> Read:
    return _of_samples(lambda run: run["evaluation"]["memorisation"][space]["ratio"][quantile])


def seconds_for_60000(run: dict[str, Any]) -> float:
    """Processor seconds that 60,000 samples take at the rate of those that were drawn."""
    drawn = run["evaluation"]["seconds"] or run["peer"]["sampling"]
    return drawn["cpu_seconds"] / drawn["num_images"] * 60_000


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
    Column("nearest, percentile 1", _ratio("pixels", "percentile_1"), 2),
    Column("nearest, median", _ratio("pixels", "median"), 2),
    Column("bits a picture", _of_samples(lambda run: run["bits"] and run["bits"]["value"]), 1),
    Column("60,000 samples, core minutes", _of_samples(lambda run: seconds_for_60000(run) / 60), 1),
    Column("weights, millions", _of_samples(lambda run: sum(run["parameters"].values()) / 1e6), 2),
    Column("training, core minutes", _of_samples(lambda run: run["training_cpu_seconds"] / 60), 0),
)


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: real pictures, then a row for each system and budget, in the order in which they come."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((run["system"], run["minutes"]), []).append(run)
    rows = [["real pictures", "-", "-", *(_cell(column, runs, REAL) for column in COLUMNS)]]
    rows += [
        [system, f"{minutes} min", str(len(group)), *(_cell(column, group, SAMPLES) for column in COLUMNS)]
        for (system, minutes), group in groups.items()
    ]
    return markdown_table(["system", "budget, 2 cores", "seeds", *(column.title for column in COLUMNS)], rows)


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
