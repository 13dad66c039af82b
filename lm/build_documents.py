"""A dataset of codes as documents on disk: `input_ids` for other people's trainers, the very ones ours learns from.

python -m pictogram.lm.build_documents --codes codes/ --tokenizer image-tokenizer/ --output documents
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..hub.command_line import check_options, command, option, run_command, seed_option
from ..tokenizer.batches import derived_generator
from ..tokenizer.progress import progress_bar
from .code_documents import CodeDocuments
from .document_dataset import DocumentsSplit, StoredDocuments, text_tokenizer_of, write_documents
from .order import ORDERS
from .row_order import RowOrder
from .text_tokenizer import MIN_TEXT_VOCAB_SIZE
from .training_config import PriorTrainingConfig
from .training_rows import open_rows
from .training_start import new_start

_ROWS_AT_ONCE = 1024


@dataclass(kw_only=True)
class BuildDocumentsConfig:
    """What the documents depend on, and where they go. The description of each field is its command-line help."""

    codes: str = option("codes", "Folder with a dataset of codes, or its name on the Hub.")
    tokenizer: str = option("image-tokenizer", "Folder of the image tokenizer that made the codes, or its name.")
    from_bundle: str = option(
        "", "Bundle whose vocabulary the documents are written in, such as an extended language model.", flag="--from"
    )
    output: str = option("documents", "Folder for the documents; other splits in it stay.")
    split: str = option("train", "Split of the codes.")
    order: str = option("level", 'Order of the codes, "level" or "pyramid"; a bundle has its own.', one_of=ORDERS)
    context_length: int = option(0, "Longest document, tokens; longer captions are cut. 0: room for all.", at_least=0)
    text_vocab_size: int = option(
        1024,
        "Most text pieces; a bundle has its own, and so has a folder with documents.",
        at_least=MIN_TEXT_VOCAB_SIZE,
    )
    image_to_text: float = option(0.3, "Share of documents with the picture before its caption.", at_least=0, at_most=1)
    caption_dropout: float = option(0.1, "Share of the other documents without their caption.", at_least=0, at_most=1)
    describe_by_first: bool = option(False, "Of several captions, only the first stands behind a picture.")
    num_epochs: int = option(1, "Documents per row of codes, each drawn anew.", at_least=1)
    seed: int = seed_option()

    def __post_init__(self) -> None:
        check_options(self)


def build_documents(config: BuildDocumentsConfig) -> DocumentsSplit:
    """Writes shuffled documents of a dataset of codes; the same seed gives the same files.

    Another split in a folder of documents is written with the text tokenizer that is there.

    Raises:
        InputError: codes of another tokenizer, or a folder that cannot take them, see `write_documents`.
    """
    shared = {key: value for key, value in asdict(config).items() if key not in ("output", "num_epochs")}
    training = PriorTrainingConfig(**shared)
    rows = open_rows(training)
    start = new_start(training, rows, text_tokenizer_of(config.output))
    assert not isinstance(rows.trained, StoredDocuments)
    text, vocabulary = start.words.text_tokenizer, start.words.vocabulary
    mix = training.document_mix()
    source = CodeDocuments(rows.trained, text, vocabulary, mix=mix, max_length=start.context_length)
    documents = _drawn(source, config.num_epochs, config.seed)
    return write_documents(documents, config.output, vocabulary, text, split=config.split)


def _drawn(source: CodeDocuments, num_epochs: int, seed: int) -> Iterator[list[int]]:
    order = RowOrder(source.shard_sizes, seed)
    total = num_epochs * order.num_rows
    with progress_bar("documents", total) as advance:
        for first in range(0, total, _ROWS_AT_ONCE):
            rows = order.rows(first, min(_ROWS_AT_ONCE, total - first))
            yield from source.documents(
                rows, torch.rand(len(rows), 3, generator=derived_generator(seed, "draws", first))
            )
            advance(len(rows))


def run(config: BuildDocumentsConfig) -> dict[str, Any]:
    """Builds, and returns what the command prints."""
    counts = asdict(build_documents(config))
    del counts["sha256"]
    return {"documents": config.output, "split": config.split, **counts}


main = command(
    BuildDocumentsConfig,
    run,
    "build-documents",
    """Write a dataset of codes as documents, the input_ids of any trainer of language models.

    Example: pictogram build-documents --codes codes --tokenizer image-tokenizer --output documents
    """,
)

if __name__ == "__main__":
    run_command(main)
