"""What documents cost in bits, apart for text and for every level of codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from transformers import PreTrainedModel

from ..hub.errors import InputError
from .data import collate
from .grammar import KIND_CONTROL, KIND_TEXT, Grammar
from .token_bits import TokenScorer, row_sums

TOKENS_AT_ONCE = 4096
"""Of a batch whose size nobody gave: the fastest on CPUs, where larger batches fall out of the cache."""


@dataclass(frozen=True)
class Rate:
    """Mean code lengths, -log2 p, with p renormalised over the ids that are legal at each place.

    Attributes:
        num_documents: documents measured.
        text_bits: bits of text per document.
        level_bits: bits of each level's codes per document, coarse to fine.
        control_bits: bits of the control tokens per document.
        illegal_bits: bits per document that the stock softmax would spend beyond these, on ids that cannot come.
    """

    num_documents: int
    text_bits: float
    level_bits: list[float]
    control_bits: float
    illegal_bits: float

    @property
    def image_bits(self) -> float:
        """Bits of all levels per document."""
        return sum(self.level_bits)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"image_bits": self.image_bits}


@dataclass(frozen=True, eq=False)
class DocumentBits:
    """What each of N documents costs, in bits. All fields are float64 on the CPU.

    Attributes:
        text: (N,) text, among the legal ids.
        control: (N,) control tokens, among the legal ids.
        levels: (N, L) each level's codes, coarse to fine.
        caption: (N,) text and the tokens that end it, among the ids of a caption (see `token_bits`): a part of
            `text + control`, which hold the choice of the document's layout besides.
        illegal: (N,) what the stock softmax would spend beyond `text + control + levels`.
    """

    text: torch.Tensor
    control: torch.Tensor
    levels: torch.Tensor
    caption: torch.Tensor
    illegal: torch.Tensor

    @property
    def layout(self) -> torch.Tensor:
        """(N,) bits for what kind of document it is, which no caption and no picture tells."""
        return self.text + self.control - self.caption


def measure_rate(
    model: PreTrainedModel, grammar: Grammar, documents: Sequence[Sequence[int]], *, batch_size: int | None = None
) -> Rate:
    """Scores whole documents under a prior.

    Args:
        model: a causal LM in evaluation mode.
        grammar: of its vocabulary.
        documents: lists of ids from `<bos>` to `<eos>`.
        batch_size: see `score_documents`.

    Raises:
        InputError: no documents, or one that breaks the grammar.
    """
    if not documents:
        raise InputError("a rate needs at least one document, got none")
    for document in documents:
        grammar.state_after(document)
    bits = score_documents(TokenScorer(model, grammar), documents, batch_size=batch_size)
    return Rate(
        num_documents=len(documents),
        text_bits=float(bits.text.mean()),
        level_bits=bits.levels.mean(0).tolist(),
        control_bits=float(bits.control.mean()),
        illegal_bits=float(bits.illegal.mean()),
    )


def score_documents(
    scorer: TokenScorer,
    documents: Sequence[Sequence[int]],
    *,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> DocumentBits:
    """The costs of whole, legal documents, in their order.

    Args:
        scorer: the prior.
        documents: at least one, lists of ids from `<bos>` to `<eos>`; they are not checked against the grammar.
        batch_size: documents at a time; by default as many as make `TOKENS_AT_ONCE` tokens. No figure depends on it
            beyond rounding.
        progress: called with the number of documents done since the last call.
    """
    num_levels, pad_id = scorer.grammar.vocabulary.num_levels, scorer.grammar.vocabulary.pad_id
    text, control, caption, illegal = torch.zeros(4, len(documents), dtype=torch.float64)
    levels = torch.zeros(len(documents), num_levels, dtype=torch.float64)
    for rows in length_batches([len(document) for document in documents], batch_size):
        bits = scorer.score(collate([documents[row] for row in rows], pad_id).input_ids)
        assert bits.illegal is not None
        text[rows], control[rows] = bits.of_kind(KIND_TEXT), bits.of_kind(KIND_CONTROL)
        levels[rows], caption[rows] = bits.of_levels(num_levels), row_sums(bits.caption)
        illegal[rows] = row_sums(bits.illegal)
        if progress:
            progress(len(rows))
    return DocumentBits(text, control, levels, caption, illegal)


def length_batches(lengths: Sequence[int], batch_size: int | None = None) -> Iterator[list[int]]:
    """Row numbers in batches of rows of like length, short ones first.

    Args:
        lengths: of every row, tokens.
        batch_size: rows per batch; by default as many as make `TOKENS_AT_ONCE` tokens with their padding.

    Example:
        >>> list(length_batches([9, 5, 9, 5, 5], batch_size=2))
        [[1, 3], [4, 0], [2]]
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = len(batch) == batch_size if batch_size else (len(batch) + 1) * lengths[row] > TOKENS_AT_ONCE
        if batch and full:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
