"""Drawing legal documents from a prior, whatever the grammar allows next: captions, or any other continuation.

Only the rows of the output layer that are legal at a place are computed. Codes of pictures, whose places are known
before, are drawn by lm/image_sampler.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from transformers import PreTrainedModel

from ..hub.errors import InputError
from .decoder import start
from .drawing import SamplingConfig, draw, guide, uniforms
from .grammar import Grammar, GrammarState

__all__ = ["Samples", "SamplingConfig", "draw", "sample", "uniforms"]


@dataclass(frozen=True)
class Samples:
    """Drawn continuations.

    Attributes:
        token_ids: one list of new ids per prompt, without the token that ended it.
        bits: (B,) float64, -log2 of the model's own probability, among the legal ids, of all that was drawn after the
            prompt, the token that ended it included; without temperature, truncation or guidance.
    """

    token_ids: list[list[int]]
    bits: torch.Tensor


@dataclass
class _Row:
    """One continuation while it grows."""

    state: GrammarState
    token_ids: list[int] = field(default_factory=list)
    done: bool = False

    def take(self, id_: int, grammar: Grammar, stop: Callable[[int], bool]) -> None:
        """Adds a token, unless the row is done or the token ends it."""
        self.done = self.done or stop(id_)
        if not self.done:
            self.token_ids.append(id_)
            self.state = grammar.advance(self.state, id_)


@torch.inference_mode()
def sample(
    model: PreTrainedModel,
    grammar: Grammar,
    prompts: Sequence[Sequence[int]],
    draws: torch.Tensor,
    sampling: SamplingConfig,
    *,
    stop: Callable[[int], bool],
    unconditional: Sequence[Sequence[int]] | None = None,
    exclude: Collection[int] = (),
) -> Samples:
    """Continues every prompt until `stop` or until the draws are used up.

    Args:
        model: a causal LM in evaluation mode; Llama and Qwen3 are fastest.
        grammar: says which ids are legal where.
        prompts: B lists of ids, each the legal beginning of a document; lengths may differ.
        draws: (B, T) uniform numbers in [0, 1), T the most new tokens.
        sampling: how to draw.
        stop: of an id; a token for which it is true ends its row and is not kept.
        unconditional: B prompts without the condition; needed, and used, when `guidance_scale` is not 1.
        exclude: ids that are not drawn, and do not count for `bits`, though the grammar allows them. Something must
            remain legal everywhere.

    Raises:
        InputError: an illegal prompt, guidance without unconditional prompts, or more tokens than the model's context.
    """
    if not prompts:
        return Samples([], torch.zeros(0, dtype=torch.float64))
    guided = sampling.guidance_scale != 1
    if guided and unconditional is None:
        raise InputError(f"guidance_scale {sampling.guidance_scale} needs prompts without the condition")
    rows = [_Row(grammar.state_after(prompt)) for prompt in prompts]
    decoding = start(model, [*prompts, *(unconditional or ())] if guided else prompts, draws.shape[1])
    excluded = torch.tensor(sorted(exclude), dtype=torch.int64)
    bits = torch.zeros(len(rows), dtype=torch.float64)
    for step in range(draws.shape[1]):
        columns, legal = _legal_columns(grammar, rows, excluded)
        logits = decoding.logits(columns.to(model.device))[:, -1].cpu()  # (B or 2B, n)
        logits = logits.masked_fill(~legal.repeat(1 + guided, 1), -torch.inf)
        conditional = logits[: len(rows)]
        scores = guide(conditional, logits[len(rows) :], sampling.guidance_scale) if guided else conditional
        drawn = draw(scores, draws[:, step], sampling)
        ids = columns[drawn]
        spent = -torch.log_softmax(conditional.double(), -1).gather(1, drawn[:, None]).squeeze(1) / math.log(2)
        bits += torch.where(torch.tensor([row.done for row in rows]), 0.0, spent)
        for row, id_ in zip(rows, ids.tolist(), strict=True):
            row.take(id_, grammar, stop)
        if step + 1 == draws.shape[1] or all(row.done for row in rows):
            break  # nobody reads what would follow
        decoding.append(ids.repeat(1 + guided)[:, None].to(model.device))
    return Samples([row.token_ids for row in rows], bits)


def _legal_columns(grammar: Grammar, rows: Sequence[_Row], excluded: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The ids that may be drawn in any unfinished row (n,), and which of them are legal in which row (B, n)."""
    sets = sorted({grammar.set_index(row.state) for row in rows if not row.done})
    columns = grammar.legal_sets[sets[0]]
    if len(sets) > 1:
        columns = torch.cat([grammar.legal_sets[index] for index in sets]).unique()
    if len(excluded):
        columns = columns[~torch.isin(columns, excluded)]
    if len(sets) == 1:
        return columns, torch.ones(len(rows), len(columns), dtype=torch.bool)
    # A finished row keeps all columns: its draws are thrown away, and an empty row would have no distribution.
    everywhere = torch.ones(len(columns), dtype=torch.bool)
    table = grammar.legal_table[:, columns]
    return columns, torch.stack([everywhere if row.done else table[grammar.set_index(row.state)] for row in rows])
