"""Codes that are exchanged for others in training: a prior that has read mistakes goes on better from its own.

What a prior reads in training is always right, and what it reads when it draws is its own (Bengio et al. 2015,
arXiv:1506.03099). It also cannot learn pictures by heart as fast when it reads them never twice alike.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from .data import DocumentBatch
from .grammar import KIND_LEVEL, Grammar


def exchange_codes(batch: DocumentBatch, grammar: Grammar, share: float, generator: torch.Generator) -> DocumentBatch:
    """Exchanges codes that are read, not those that are predicted.

    Each document has a share of its own, uniform on 0 to twice `share`, so that almost whole ones remain. In place of a
    code comes one of the same level from anywhere in the batch: frequent codes come often, and the grammar holds.

    Args:
        batch: of documents, on the CPU; it stays as it is.
        grammar: tells codes from words.
        share: 0..0.5, of all codes.
        generator: of all that is drawn.
    """
    input_ids = batch.input_ids.clone()  # (B, T)
    shares = 2 * share * torch.rand(len(input_ids), 1, generator=generator)
    exchanged = torch.rand(input_ids.shape, generator=generator) < shares
    kinds = grammar.slots(input_ids).kind
    for level in range(grammar.vocabulary.num_levels):
        here = kinds == KIND_LEVEL + level
        codes, places = input_ids[here], here & exchanged
        if len(codes):
            input_ids[places] = codes[torch.randint(len(codes), (int(places.sum()),), generator=generator)]
    return replace(batch, input_ids=input_ids)
