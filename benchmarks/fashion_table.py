"""The table of what `fashion_evidence.py` measured: one column a system and budget, means over seeds and their spread.

"Real pictures" are as many training pictures, scored like samples; "decoded" ones are the same after encoding and
decoding.

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
"""Arms that have columns: training pictures beside those of the test, and what was drawn."""

TITLES = {
    "pictogram": "pictogram",
    "gan": "GAN",
    "pixelsnail": "VQ-VAE-2, gated convolutions",
    "pixelsnail-by-rate": "gated convolutions on the codes of pictogram",
    "distortion": "pictogram, tokenizer by distortion alone",
    "patches": "the prior of pictogram on codes of patches",
}
"""What systems are called in words, in the order of their columns."""

Groups = dict[tuple[str, int], list[dict[str, Any]]]
"""Runs by system and minutes."""

Read = Callable[[dict[str, Any], str], float | None]


@dataclass(frozen=True)
class Row:
    """A figure of every run.

    Attributes:
        title: of the row.
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


def _of_decoded(metric: str, read: Callable[[Any], float]) -> Read:
    """A figure of the pictures decoded from their codes: what the image tokenizer alone costs."""

    def found(run: dict[str, Any]) -> float | None:
        arms = run["evaluation"][metric]
        return read(arms["decoded"]) if "decoded" in arms else None

    return _of_samples(found)


def _share(arm: str) -> Read:
    return _of_samples(lambda run: run["evaluation"]["cas"].get(f"share_of_{arm}"))


def _ratio(reference: str, quantile: str) -> Read:
    def read(run: dict[str, Any]) -> float | None:
        ratios = run["evaluation"]["memorisation"]["pixels"]["ratio"]
        return ratios[reference][quantile] if reference in ratios else None

    return _of_samples(read)


def _suspects(run: dict[str, Any]) -> float:
    return run["evaluation"]["memorisation"]["pixels"]["suspect"]["real test"]


def seconds_for_60000(run: dict[str, Any]) -> float:
    """Processor seconds that 60,000 samples take at the rate of those that were drawn."""
    drawn = run["evaluation"]["seconds"] or run["peer"]["sampling"]
    return drawn["cpu_seconds"] / drawn["num_images"] * 60_000


def _training_minutes(run: dict[str, Any]) -> float | None:
    return None if run["training_cpu_seconds"] is None else run["training_cpu_seconds"] / 60


ROWS = (
    Row("CAS: accuracy on real pictures of a classifier that learned from these", _accuracy, 4),
    Row("CAS of decoded pictures", _of_samples(lambda run: _accuracy(run, "decoded")), 4),
    Row("CAS, of what real pictures give", _share("real"), 3),
    Row("CAS, of what decoded pictures give", _share("decoded"), 3),
    Row("recognised as what they were meant to be", _of_arm(lambda found, arm: found["recognised"][arm]), 3),
    Row("recognised, decoded pictures", _of_decoded("recognised", lambda found: found), 3),
    Row("Fréchet distance, class by class", _of_arm(lambda found, arm: found["fd"][arm]["per_class"]), 2),
    Row("Fréchet distance, class by class, decoded pictures", _of_decoded("fd", lambda found: found["per_class"]), 2),
    Row("Fréchet distance of all together", _of_arm(lambda found, arm: found["fd"][arm]["global"]), 2),
    Row("Fréchet distance of all together, decoded pictures", _of_decoded("fd", lambda found: found["global"]), 2),
    Row("precision", _of_arm(lambda found, arm: found["precision_recall"][arm]["precision"]), 3),
    Row("recall", _of_arm(lambda found, arm: found["precision_recall"][arm]["recall"]), 3),
    Row(
        "distance to the nearest training picture over that of real test pictures, percentile 1",
        _ratio("real test", "percentile_1"),
        2,
    ),
    Row("the same, median", _ratio("real test", "median"), 2),
    Row("over that of decoded test pictures, percentile 1", _ratio("decoded test", "percentile_1"), 2),
    Row("the same, median", _ratio("decoded test", "median"), 2),
    Row("share nearer than .999 of real test pictures", _of_samples(_suspects), 4),
    Row("bits a picture", _of_samples(lambda run: run["bits"] and run["bits"]["value"]), 1),
    Row("weights, millions", _of_samples(lambda run: sum(run["parameters"].values()) / 1e6), 2),
    Row("60,000 samples, core minutes", _of_samples(lambda run: seconds_for_60000(run) / 60), 1),
    Row("training, core minutes", _of_samples(_training_minutes), 1),
)


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Markdown: a column for real pictures, then one for each system and budget, in the order of `TITLES`."""
    groups: Groups = {}
    for run in sorted(runs, key=lambda run: (run["minutes"], _place(run["system"]))):
        groups.setdefault((run["system"], run["minutes"]), []).append(run)
    check_alike(groups)
    by_seed = list({run["seed"]: run for run in runs}.values())  # the same pictures, whoever is scored beside them
    rows = [["seeds", "", *(_seeds(group) for group in groups.values())]]
    rows += [
        [row.title, _cell(row, by_seed, REAL), *(_cell(row, group, SAMPLES) for group in groups.values())]
        for row in ROWS
    ]
    return markdown_table(["", "real pictures", *_headings(groups)], rows)


def _place(system: str) -> int:
    return [*TITLES, system].index(system)


def _headings(groups: Groups) -> list[str]:
    """Names, with the budget where there are several."""
    several = len({minutes for _, minutes in groups}) > 1
    return [TITLES.get(system, system) + f", {minutes} min" * several for system, minutes in groups]


def _seeds(runs: Sequence[dict[str, Any]]) -> str:
    return ", ".join(str(seed) for seed in sorted(run["seed"] for run in runs))


def check_alike(groups: Groups) -> None:
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
    return tuple(re.sub(r" --seed \d+", "", command.replace(folder, "")) for command in commands)


def _cell(row: Row, runs: Sequence[dict[str, Any]], arm: str) -> str:
    values = [row.read(run, arm) for run in runs]
    known = [value for value in values if value is not None]
    if not known:
        return ""
    mean = _number(fmean(known), row.digits)
    return mean if len(set(known)) == 1 else f"{mean} ± {_number(stdev(known), row.digits)}"


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


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
