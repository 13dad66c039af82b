"""Pictures to a dataset of codes."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.compute
import pyarrow.parquet

from ..hub.command_line import command, run_command
from ..tokenizer.codes_manifest import CodesManifest
from ..tokenizer.codes_status import read_status
from ..tokenizer.codes_writer import make_shards, run_job
from ..tokenizer.progress import progress_bar
from .inspect_codes import run_check, spell_status
from .ray_scheduler import make_shards_with_ray
from .tokenize_job import TokenizeConfig, open_job

_LISTED = 10
"""Failures that people are shown; all are in the manifest."""


def tokenize(config: TokenizeConfig) -> CodesManifest:
    """Encodes every picture; goes on where a killed run stopped, and shares the work with whoever does the same.

    Raises:
        InputError: see `open_job`; or no picture could be encoded, or Ray is wanted and not installed.
    """
    job = open_job(config)
    with progress_bar("tokenize", job.num_input_rows, enabled=os.environ.get("RANK", "0") == "0") as advance:
        if config.scheduler == "ray":
            return run_job(job, lambda _: make_shards_with_ray(job, config, advance))
        return run_job(job, lambda worker: make_shards(job, worker, config.decoding_threads, advance))


def run_tokenize(config: TokenizeConfig) -> dict[str, Any]:
    """Encodes, or looks at what was encoded, and returns what the command prints."""
    if config.status:
        return {"splits": [asdict(status) for status in read_status(config.status)]}
    if config.check:
        return run_check(config.check, config.model, config.picture)
    split = tokenize(config).splits[config.split]
    return {
        "codes": config.output,
        "split": config.split,
        "pictures": split.rows // split.num_views,
        "with_caption": _num_captioned(split.shard_paths(Path(config.output), config.split)),
        "failures": [f"{failure['key']} ({failure['reason']})" for failure in split.failures],
    }


def _num_captioned(shards: list[Path]) -> int:
    """Pictures with a caption that is not empty."""
    count = 0
    for shard in shards:
        table = pyarrow.parquet.read_table(shard, columns=["view", "caption"])
        captions = table.filter(pyarrow.compute.field("view") == 0)["caption"].to_pylist()
        count += sum(bool(caption if isinstance(caption, str) else any(caption or [])) for caption in captions)
    return count


def summarise(result: dict[str, Any]) -> dict[str, Any]:
    """For people: the first failures and problems, and one line a split."""
    shown = dict(result)
    for name in ("failures", "problems"):
        if len(result.get(name, [])) > _LISTED:
            shown[name] = [*result[name][:_LISTED], f"and {len(result[name]) - _LISTED} more"]
    for status in shown.pop("splits", []):
        shown[status["split"]] = spell_status(status)
    return shown


def exit_code(result: dict[str, Any]) -> int:
    """3 if something was left out, or is wrong."""
    return 3 if result.get("failures") or result.get("problems") else 0


main = command(
    TokenizeConfig,
    run_tokenize,
    "tokenize",
    """Turn pictures into a dataset of codes: parquet files and a manifest.

    Start it as often as there are cores, on as many machines as share the folder, or under torchrun: the processes
    divide the work among them. The exit code is 3 if pictures had to be left out, or a check found something wrong.

    Example: pictogram tokenize --data photos/ --model image-tokenizer --output codes
    """,
    summarise=summarise,
    exit_code=exit_code,
)

if __name__ == "__main__":
    run_command(main)
