"""What documents cost in bits, apart for text and for every level of codes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.nn import functional as F
from transformers import PreTrainedModel

from ..hub.errors import InputError
from .data import collate
from .grammar import KIND_CONTROL, KIND_LEVEL, KIND_TEXT, Grammar


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


@torch.inference_mode()
def measure_rate(
    model: PreTrainedModel, grammar: Grammar, documents: Sequence[Sequence[int]], *, batch_size: int = 32
) -> Rate:
    """Scores whole documents under a prior.

    Args:
        model: a causal LM in evaluation mode.
        grammar: of its vocabulary.
        documents: lists of ids from `<bos>` to `<eos>`.
        batch_size: documents at a time; no figure depends on it beyond rounding.

    Raises:
        InputError: no documents, or one that breaks the grammar.
    """
    if not documents:
        raise InputError("a rate needs at least one document, got none")
    num_kinds = KIND_LEVEL + grammar.vocabulary.num_levels
    bits, illegal = torch.zeros(num_kinds, dtype=torch.float64), 0.0
    for first in range(0, len(documents), batch_size):
        group = documents[first : first + batch_size]
        for document in group:
            grammar.state_after(document)
        input_ids = collate(group, grammar.vocabulary.pad_id).input_ids
        logits = model(input_ids=input_ids.to(model.device)).logits[:, :-1]  # (B, T - 1, V)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).cpu()
        slots = grammar.slots(input_ids)
        legal_set, kind = slots.legal_set[:, 1:], slots.kind[:, 1:]
        counted = input_ids[:, 1:] != grammar.vocabulary.pad_id
        legal = torch.where(grammar.legal_table[legal_set], logits, -torch.inf)
        stock = F.cross_entropy(logits.transpose(1, 2), input_ids[:, 1:], reduction="none")
        spent = F.cross_entropy(legal.transpose(1, 2), input_ids[:, 1:], reduction="none")  # nats, (B, T - 1)
        bits += torch.bincount(kind[counted], weights=spent[counted].double(), minlength=num_kinds)
        illegal += float((stock - spent)[counted].double().sum())
    per_document = (bits / math.log(2) / len(documents)).tolist()
    return Rate(
        num_documents=len(documents),
        text_bits=per_document[KIND_TEXT],
        level_bits=per_document[KIND_LEVEL:],
        control_bits=per_document[KIND_CONTROL],
        illegal_bits=illegal / math.log(2) / len(documents),
    )
