"""Pictures to a dataset of codes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..tokenizer.codes_dataset import CodesManifest, load_codes, write_codes
from ..tokenizer.command_line import check_options, command, option
from ..tokenizer.images import load_image_source
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.progress import progress_bar


@dataclass(kw_only=True)
class TokenizeConfig:
    """Which pictures become codes, by which tokenizer, and where."""

    data: str = option("embedded", 'Pictures: "embedded", a folder of images, parquet, or any `datasets` name.')
    split: str = option("train", "Split of the data, and of the codes.")
    caption_column: str = option("", "Column with the captions; by default caption, text, name, or a class label.")
    model: str = option("image-tokenizer", "Folder of the image tokenizer.")
    output: str = option("codes", "Folder for the codes; the same folder again goes on, another split is added.")
    batch_size: int = option(64, "Pictures encoded at once.", at_least=1)
    rows_per_shard: int = option(4096, "Pictures behind each parquet file.", at_least=1)

    def __post_init__(self) -> None:
        check_options(self)


def tokenize(config: TokenizeConfig) -> CodesManifest:
    """Encodes every picture; goes on where a killed run stopped.

    Raises:
        InputError: unusable pictures or tokenizer, or a folder with another tokenizer's codes.
    """
    loaded = load_image_tokenizer(config.model)
    source = load_image_source(config.data, config.split, config.caption_column or None)
    with progress_bar("tokenize", len(source)) as advance:
        return write_codes(
            source,
            loaded.model,
            loaded.processor,
            config.output,
            split=config.split,
            batch_size=config.batch_size,
            rows_per_shard=config.rows_per_shard,
            progress=advance,
        )


def run_tokenize(config: TokenizeConfig) -> dict[str, Any]:
    """Encodes, and returns what the command prints."""
    split = tokenize(config).splits[config.split]
    failures = [f"{failure['key']} ({failure['reason']})" for failure in split.failures]
    codes = load_codes(config.output, config.split)
    captioned = sum(bool(caption if isinstance(caption, str) else any(caption)) for caption in codes.dataset["caption"])
    counts = {"pictures": split.rows, "with_caption": captioned, "failures": failures}
    return {"codes": config.output, "split": config.split, **counts}


main = command(
    TokenizeConfig,
    run_tokenize,
    "tokenize",
    """Turn pictures into a dataset of codes: parquet files and a manifest.

    Example: pictogram tokenize --data photos/ --model image-tokenizer --output codes
    """,
)
