"""Which pictures become codes, by which tokenizer, and where: a configuration, and the job it describes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..hub.command_line import check_options, option
from ..hub.errors import InputError
from ..tokenizer.codes_job import CodesJob, new_job
from ..tokenizer.codes_sources import open_codes_source
from ..tokenizer.codes_writer import ROWS_PER_SHARD
from ..tokenizer.devices import default_device
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.views import ViewSettings
from .command_options import png_path


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
        if self.picture:
            png_path(Path(self.picture), "picture")

    @property
    def decoding_threads(self) -> int | None:
        """Threads that decode pictures; None leaves their number open."""
        return None if self.num_threads < 0 else self.num_threads


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
