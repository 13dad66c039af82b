"""What every token of a batch costs, summed by kind: the figures that a training logs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.nn import functional as F

from .data import IGNORED, DocumentBatch
from .grammar import KIND_LEVEL, KIND_TEXT, Grammar


def token_nats(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B, T - 1) cost in nats of every token after the first, under the full softmax; 0 for padding.

    Args:
        logits: (B, T, V), computed in float32 whatever their type.
        labels: (B, T) int64.
    """
    predicted = logits[:, :-1].float()
    nats = F.cross_entropy(predicted.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none")
    return nats.view_as(labels[:, 1:])


def legal_logits(logits: torch.Tensor, input_ids: torch.Tensor, grammar: Grammar) -> torch.Tensor:
    """(B, T, V) logits, -inf for ids that are illegal at the place that they predict; for `token_nats` in rates."""
    sets = grammar.slots(input_ids).legal_set[:, 1:]
    legal = F.pad(grammar.legal_table.to(logits.device)[sets], (0, 0, 0, 1), value=True)
    return logits.masked_fill(~legal, -torch.inf)


def cost_sums(batch: DocumentBatch, nats: torch.Tensor, grammar: Grammar) -> torch.Tensor:
    """(S,) float64: bits per kind of token, then the numbers of tokens, of captions and of documents.

    Sums of several batches, and of several processes, add up; `cost_metrics` reads them.

    Args:
        batch: of documents.
        nats: (B, T - 1), see `token_nats`.
        grammar: tells the kinds.
    """
    kinds = grammar.slots(batch.input_ids).kind[:, 1:]
    kinds = torch.where(batch.labels[:, 1:] == IGNORED, -1, kinds)
    num_kinds = KIND_LEVEL + grammar.vocabulary.num_levels
    bits = torch.bincount((kinds + 1).flatten(), nats.cpu().double().flatten(), num_kinds + 1)[1:] / math.log(2)
    counts = [(kinds >= 0).sum(), (kinds == KIND_TEXT).any(1).sum(), len(kinds)]
    return torch.cat([bits, torch.tensor(counts, dtype=torch.float64)])


def cost_metrics(sums: Sequence[float]) -> dict[str, float]:
    """Sums of `cost_sums` -> mean nats per token, bits per document, per caption, and per document for each level."""
    *bits, num_tokens, num_captions, num_documents = sums
    levels = {f"level_{level}_bits": value / num_documents for level, value in enumerate(bits[KIND_LEVEL:])}
    return {
        "loss": sum(bits) * math.log(2) / num_tokens,
        "bits_per_document": sum(bits) / num_documents,
        "text_bits": bits[KIND_TEXT] / max(1, num_captions),
        **levels,
    }
