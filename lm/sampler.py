"""Drawing legal documents from a prior.

Every draw is the inverse of a cumulative distribution at a uniform number that the caller supplies. So the same numbers
give the same tokens whatever the batch, and `generate()` of transformers can be followed token by token. Only the rows
of the output layer that are legal at a place are computed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

from ..hub.errors import InputError
from .grammar import Grammar, GrammarState


@dataclass(frozen=True, kw_only=True)
class SamplingConfig:
    """How tokens are drawn.

    Attributes:
        temperature: divides the logits; 0 takes the most likely token.
        top_k: keeps the k most likely tokens; 0 keeps all.
        top_p: keeps the fewest tokens whose chances sum to at least this, 0 < top_p <= 1 (Holtzman et al. 2020).
        guidance_scale: 1 follows the prompt as the model does; more exaggerates what the prompt changes
            (classifier-free guidance, Ho & Salimans 2022, on logits).

    Raises:
        InputError: a value outside its range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance_scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < float("inf"):
            raise InputError(f"temperature must be 0 or more, got {self.temperature}")
        if self.top_k < 0:
            raise InputError(f"top_k must be 0 (all) or more, got {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p must be above 0 and at most 1, got {self.top_p}")
        if not 0 <= self.guidance_scale < float("inf"):
            raise InputError(f"guidance_scale must be 0 or more, got {self.guidance_scale}")


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


def uniforms(seeds: Sequence[int], count: int) -> torch.Tensor:
    """(B, count) float64 uniform numbers; row i depends on `seeds[i]` only.

    Raises:
        InputError: a seed outside 0..2**63 - 1.
    """
    for seed in seeds:
        if not 0 <= seed < 2**63:
            raise InputError(f"seeds must be 0 or more and below 2**63, got {seed}")
    rows = [torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, count, dtype=torch.float64)


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
        model: a stock causal LM (Qwen3, Llama), in evaluation mode.
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
    cached = _CachedModel(model, [*prompts, *(unconditional or ())] if guided else prompts, draws.shape[1])
    excluded = torch.tensor(sorted(exclude), dtype=torch.int64)
    bits = torch.zeros(len(rows), dtype=torch.float64)
    for step in range(draws.shape[1]):
        columns, legal = _legal_columns(grammar, rows, excluded)
        logits = cached.logits(columns).masked_fill(~legal.repeat(1 + guided, 1), -torch.inf)  # (B or 2B, n)
        conditional = logits[: len(rows)]
        scores = _guide(conditional, logits[len(rows) :], sampling.guidance_scale) if guided else conditional
        drawn = draw(scores, draws[:, step], sampling)
        ids = columns[drawn]
        spent = -torch.log_softmax(conditional.double(), -1).gather(1, drawn[:, None]).squeeze(1) / math.log(2)
        bits += torch.where(torch.tensor([row.done for row in rows]), 0.0, spent.cpu())
        for row, id_ in zip(rows, ids.tolist(), strict=True):
            row.take(id_, grammar, stop)
        if step + 1 == draws.shape[1] or all(row.done for row in rows):
            break  # nobody reads what would follow
        cached.append(ids.repeat(1 + guided))
    return Samples([row.token_ids for row in rows], bits)


def draw(scores: torch.Tensor, uniform: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
    """Inverts each row's cumulative distribution at its uniform number, in float64.

    Args:
        scores: (B, n) logits, -inf where illegal.
        uniform: (B,) in [0, 1).
        sampling: temperature and truncation.

    Returns:
        (B,) int64 columns. Temperature 0 takes the largest score, the first of equal ones.
    """
    if sampling.temperature == 0:
        return scores.argmax(1)
    probabilities = torch.softmax(scores.double() / sampling.temperature, -1)
    probabilities = _truncate(probabilities, sampling)
    cumulative = probabilities.cumsum(-1)  # (B, n)
    target = uniform.to(cumulative)[:, None] * cumulative[:, -1:]
    column = torch.searchsorted(cumulative, target, right=True).squeeze(1)
    # Rounding could point past the last token with any chance: stay on it.
    last = (probabilities > 0).long().cumsum(1).argmax(1)
    return torch.minimum(column, last)


def _truncate(probabilities: torch.Tensor, sampling: SamplingConfig) -> torch.Tensor:
    """Sets to zero what top-k and top-p leave out; both count on the whole distribution, ties go to the lower id."""
    if not 0 < sampling.top_k < probabilities.shape[1] and sampling.top_p == 1:
        return probabilities
    ordered, columns = probabilities.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if sampling.top_k:
        keep[:, sampling.top_k :] = False
    if sampling.top_p < 1:
        keep &= F.pad(ordered.cumsum(-1)[:, :-1], (1, 0)) < sampling.top_p  # the share of all that come before
    return probabilities * torch.zeros_like(keep).scatter(1, columns, keep)


def _guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Classifier-free guidance; illegal columns stay -inf."""
    guided = unconditional + scale * (conditional - unconditional)
    return torch.where(conditional == -torch.inf, conditional, guided)


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


class _CachedModel:
    """A causal LM and its key-value cache for one batch of prompts, padded on the left."""

    def __init__(self, model: PreTrainedModel, prompts: Sequence[Sequence[int]], num_new: int):
        longest = max(map(len, prompts))
        context = model.config.max_position_embeddings
        if longest + num_new > context:
            raise InputError(f"prompt and new tokens need {longest + num_new} places, but the model has {context}")
        self.model = model
        self.cache = DynamicCache(config=model.config)
        input_ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
        self.mask = torch.zeros(len(prompts), longest, dtype=torch.int64)
        for row, mask, prompt in zip(input_ids, self.mask, prompts, strict=True):
            row[longest - len(prompt) :] = torch.tensor(prompt)
            mask[longest - len(prompt) :] = 1
        self._forward(input_ids, (self.mask.cumsum(1) - 1).clamp(min=0))

    def append(self, ids: torch.Tensor) -> None:
        """Feeds one more token per row, (B,)."""
        position = self.mask.sum(1, keepdim=True)
        self.mask = F.pad(self.mask, (0, 1), value=1)
        self._forward(ids[:, None], position)

    def logits(self, columns: torch.Tensor) -> torch.Tensor:
        """(B, n) logits of the next token, for n ids only; float32, or float64 if the model is."""
        head = self.model.get_output_embeddings()
        assert head is not None
        weight = head.weight
        assert isinstance(weight, torch.Tensor)
        logits = F.linear(self.hidden, weight[columns.to(weight.device)])
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).cpu()

    def _forward(self, input_ids: torch.Tensor, positions: torch.Tensor) -> None:
        device = self.model.device
        output = self.model.base_model(
            input_ids=input_ids.to(device),
            attention_mask=self.mask.to(device),
            position_ids=positions.to(device),
            past_key_values=self.cache,
            use_cache=True,
        )
        self.hidden = output.last_hidden_state[:, -1]  # (B, width)
