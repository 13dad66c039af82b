"""Pictures to a dataset of codes."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute
import pyarrow.parquet

from ..hub.errors import InputError
from ..tokenizer.codes_job import CodesJob, new_job
from ..tokenizer.codes_manifest import CodesManifest
from ..tokenizer.codes_sources import open_codes_source
from ..tokenizer.codes_status import read_status
from ..tokenizer.codes_writer import ROWS_PER_SHARD, run_job
from ..tokenizer.command_line import check_options, command, option, run_command
from ..tokenizer.devices import default_device
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.progress import progress_bar
from ..tokenizer.views import ViewSettings
from .inspect_codes import run_check, spell_status

_LISTED = 10
"""Failures that people are shown; all are in the manifest."""


@dataclass(kw_only=True)
class TokenizeConfig:
    """Which pictures become codes, by which tokenizer, and where."""

    data: str = option(
        "embedded", 'Pictures: "embedded", a folder of images, parquet, tar archives, or any `datasets` name.'
    )
    split: str = option("train", "Split of the data, and of the codes.")
    caption_column: str = option("", "Column with the captions; by default caption, text, name, or a class label.")
    streaming: bool = option(False, "Read parquet files or a named dataset without a copy on this machine.")
    model: str = option("image-tokenizer", "Folder of the image tokenizer, or its name on the Hub.")
    revision: str = option("", "Branch, tag or commit of the tokenizer on the Hub.")
    output: str = option("codes", "Folder for the codes; the same folder again goes on, another split is added.")
    batch_size: int = option(64, "Pictures encoded at once.", at_least=1)
    rows_per_shard: int = option(
        ROWS_PER_SHARD, "Pictures behind each parquet file; archives and streams make one each.", at_least=1
    )
    num_threads: int = option(-1, "Threads that decode pictures; -1 takes one a core, at most 8.", at_least=-1)
    flip: bool = option(False, "Mirrored pictures as a further view.")
    num_crops: int = option(0, "Random crops as further views.", at_least=0)
    crop_scale: float = option(0.5, "Smallest area of a crop, as a part of the picture's.", above=0, at_most=1)
    crop_seed: int = option(0, "Seed of the crops.", at_least=0)

    scheduler: str = option(
        "local", 'Who hands out the shards: "local", or "ray" for a Ray cluster.', one_of=("local", "ray")
    )
    status: str = option("", "Instead: how far the codes in this folder are, and who works on them.")
    check: str = option("", "Instead: check counts, hashes and ranges of the codes in this folder.")
    picture: str = option("", "With --check: PNG file for some rows, decoded by --model.")

    def __post_init__(self) -> None:
        check_options(self)
        if self.status and self.check:
            raise InputError("status and check are two questions; ask one at a time")
        if self.picture and not self.check:
            raise InputError("picture goes with check: it shows rows of the codes that are checked")


def open_job(config: TokenizeConfig) -> CodesJob:
    """The work that a configuration describes; equal in every process that opens it.

    Raises:
        InputError: unusable pictures or tokenizer, or a folder with another tokenizer's codes.
    """
    loaded = load_image_tokenizer(config.model, config.revision or None)
    loaded.model.to(default_device())
    return new_job(
        open_codes_source(config.data, config.split, config.caption_column or None, config.streaming),
        loaded.model,
        loaded.processor,
        Path(config.output),
        split=config.split,
        rows_per_shard=config.rows_per_shard,
        batch_size=config.batch_size,
        tokenizer_id=loaded.name,
        tokenizer_revision=loaded.revision,
        views=ViewSettings(config.flip, config.num_crops, config.crop_scale, config.crop_seed),
    )


def tokenize(config: TokenizeConfig) -> CodesManifest:
    """Encodes every picture; goes on where a killed run stopped, and shares the work with whoever does the same.

    Raises:
        InputError: see `open_job`; or no picture could be encoded, or Ray is wanted and not installed.
    """
    job = open_job(config)
    with progress_bar("tokenize", job.num_input_rows, enabled=os.environ.get("RANK", "0") == "0") as advance:
        if config.scheduler == "ray":
            from .ray_scheduler import make_shards_with_ray

            make_shards_with_ray(job, config, advance)
            return job.finish()
        return run_job(job, None if config.num_threads < 0 else config.num_threads, advance)


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
