"""Systems that draw clothes by the names of their classes, under equal budgets, are trained, sampled from and scored.

python benchmarks/fashion_splits.py --data zalando-datasets/fashion_mnist --out fashion
python benchmarks/fashion_evidence.py --data fashion --work evidence --minutes 30 --seeds 0,1,2 --json evidence.json

Every stage is a command of its own and runs once: started again, the script goes on where it was. Choices are made with
`--split validation`; `--split test` is for the end. A stage that another command than now has made is no part of this
run, and is refused.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fashion_systems import PICTOGRAM, Run, Stage, bits_path, peer_path, stages
from interleaved import print_report
from safetensors import safe_open

from pictogram import InputError
from pictogram.hub.command_line import entries, whole_numbers
from pictogram.hub.files import read_json_object, write_json

_KEEPS_MEMORY = {"MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000"}
"""With glibc memory between steps stays with the process: a tenth to a fourth less time, for every system."""


def run_stage(stage: Stage, folder: Path) -> dict[str, Any]:
    """Runs a command, unless it has been; a command that fails stops everything.

    Returns:
        Its `seconds`, and `cpu_seconds` of all its threads, over all attempts; None where one was killed together with
        this script, so that nobody knows what it took.

    Raises:
        InputError: the command failed, or the record in the folder is of another command.
    """
    record = folder / "stages" / f"{stage.name.replace(' ', '-')}.json"
    if record.exists():
        return _finished(record, stage)
    record.parent.mkdir(parents=True, exist_ok=True)
    attempts, log = record.with_suffix(".attempts"), folder / f"{record.stem}.log"
    earlier = read_json_object(attempts)["attempts"] if attempts.exists() else []
    write_json(attempts, {"attempts": [*earlier, None]})  # stays so if this script is killed
    code, spent = _timed(stage.command, log)
    every = [*earlier, spent]
    if code:
        write_json(attempts, {"attempts": every})
        raise InputError(f"{stage.name} failed with exit code {code}; {log} says why")
    found = {"stage": stage.name, "trains": stage.trains, **_together(every), "command": stage.spoken()}
    write_json(record, found)
    attempts.unlink()
    return read_json_object(record)


def _together(attempts: Sequence[dict[str, float] | None]) -> dict[str, float | None]:
    """What attempts took in all; None stands for what nobody knows."""
    known = [attempt for attempt in attempts if attempt is not None]
    complete = len(known) == len(attempts)
    return {name: sum(each[name] for each in known) if complete else None for name in ("seconds", "cpu_seconds")}


def _finished(record: Path, stage: Stage) -> dict[str, Any]:
    found = read_json_object(record)
    if found["command"] != stage.spoken():
        raise InputError(
            f"{record} is of another command ({found['command']}) than {stage.spoken()}; give another --work, or "
            f"delete {record.parents[1]}"
        )
    return found


def _timed(command: Sequence[str], log: Path) -> tuple[int, dict[str, float]]:
    """Exit code of a command, and what it took."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with log.open("ab") as output:
        settings = _KEEPS_MEMORY | os.environ
        code = subprocess.run(command, stdout=output, stderr=output, env=settings, check=False).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return code, {"seconds": time.perf_counter() - clock, "cpu_seconds": cpu}


def scoring(run: Run, kept: Path) -> Stage:
    """The command that scores a run's samples."""
    where = [
        "--data",
        str(run.data),
        "--split",
        run.split,
        "--num-images",
        str(run.num_images),
        "--seed",
        str(run.seed),
    ]
    where += ["--num-steps", str(run.classifier_steps), "--num-classifiers", str(run.num_classifiers)]
    out = ["--kept", str(kept), "--out", str(_evaluation(run)), "--json"]
    given = ["--samples", str(run.folder / "peer" / "samples")]
    if (run.folder / "bundle").is_dir():
        given = ["--model", str(run.folder / "bundle")]
    elif (run.folder / "tokenizer").is_dir():
        given += ["--tokenizer", str(run.folder / "tokenizer")]
    return Stage(f"evaluation on {run.split}", [*PICTOGRAM, "evaluate", "samples", *given, *where, *out])


def _evaluation(run: Run) -> Path:
    return run.folder / f"evaluation-{run.split}"


def measure(run: Run, kept: Path) -> dict[str, Any]:
    """Trains, samples and scores."""
    times = [run_stage(stage, run.folder) for stage in stages(run)]
    run_stage(scoring(run, kept), run.folder)
    report = read_json_object(_evaluation(run) / "evaluation.json")
    peer = read_json_object(path) if (path := peer_path(run)).exists() else None
    return {
        "system": run.system,
        "minutes": run.minutes,
        "seed": run.seed,
        "training_cpu_seconds": training_seconds(times, peer),
        "parameters": count_parameters(run.folder),
        "stages": times,
        "peer": peer,
        "bits": _bits(run),
        "evaluation": report,
    }


def _bits(run: Run) -> dict[str, Any] | None:
    """Bits of a held-out picture's codes, given its class; a GAN has none."""
    if not (path := bits_path(run)).exists():
        return None
    found = read_json_object(path)
    return found["bits"]["all"] if "bits" in found else found["rate"]["codes_given_caption"]["per_image"]


def training_seconds(times: Sequence[dict[str, Any]], peer: dict[str, Any] | None) -> float | None:
    """Processor seconds that count towards the budget: a peer's script also draws, and says what its training took.

    None where that of a stage is not known.
    """
    stages = [stage["cpu_seconds"] for stage in times if stage["trains"]]
    if peer is not None:
        stages[-1] = peer["training"]["cpu_seconds"]
    return None if None in stages else sum(stages)


def count_parameters(folder: Path) -> dict[str, int]:
    """Numbers in the weights of a run, by file; running means and codebooks included."""
    found: dict[str, int] = {}
    for name in ("tokenizer", "bundle", "peer"):
        for path in sorted((folder / name).glob("*.safetensors")):
            with safe_open(path, "pt") as weights:
                shapes = [weights.get_slice(key).get_shape() for key in weights.keys()]  # noqa: SIM118
            found[str(path.relative_to(folder))] = sum(_product(shape) for shape in shapes)
    return found


def _product(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("fashion"), help="folder of fashion_splits.py")
    parser.add_argument("--work", type=Path, default=Path("evidence"), help="folder for everything")
    parser.add_argument("--systems", default="pictogram,gan,pixelsnail,patches")
    parser.add_argument("--minutes", default="30", help="budgets of two cores")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--num-images", type=int, default=10_000)
    parser.add_argument("--classifier-steps", type=int, default=Run.classifier_steps)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--json", type=Path, help="file for the report")
    given = parser.parse_args(arguments)
    try:
        chosen = itertools.product(
            whole_numbers("minutes", given.minutes), entries(given.systems), whole_numbers("seeds", given.seeds)
        )
        runs = [_run(given, system, minutes, seed) for minutes, system, seed in chosen]
        for run in runs:
            stages(run)  # refuses what does not exist before anything is trained
        measured = [measure(run, given.work / "kept") for run in runs]
    except InputError as error:
        parser.error(str(error))
    print_report({"threads": os.environ.get("OMP_NUM_THREADS"), "runs": measured}, given.json)


def _run(given: argparse.Namespace, system: str, minutes: int, seed: int) -> Run:
    folder = given.work / f"{system}-{minutes}-{seed}"
    return Run(system, minutes, seed, given.data, folder, given.num_images, given.split, given.classifier_steps)


if __name__ == "__main__":
    main()
