"""Our sampler in `generate()` of transformers: one processor for what is legal, one for what the numbers draw."""

from __future__ import annotations

import torch
from transformers import LogitsProcessor

from ..hub.errors import InputError
from .drawing import SamplingConfig, draw
from .grammar import Grammar, GrammarState
from .vocabulary import JointVocabulary


class GrammarLogitsProcessor(LogitsProcessor):
    """Sets the logits of illegal ids to minus infinity.

    Rows may have prompts of different lengths, padded with `<pad>` on the left, and may be at different places of their
    documents; after `<eos>` only `<pad>` is legal. While rows grow by one token a call, only that token is read; any
    other rows (a new batch, reordered beams) are read from their beginning.

    Continuous batching is declared unsupported: it shows a processor only each request's last token, and transformers
    would rather drop a processor that says so than run it blindly.

    Args:
        vocabulary: the joint vocabulary; the model must have exactly `vocabulary.vocab_size` logits.
    """

    supports_continuous_batching: bool | None = False

    def __init__(self, vocabulary: JointVocabulary):
        self.grammar = Grammar(vocabulary)
        self._legal_table = self.grammar.legal_table
        self._seen: torch.Tensor | None = None  # (B, T): the rows that _states belong to
        self._states: list[GrammarState] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Masks the next token's logits.

        Args:
            input_ids: LongTensor (B, T), all tokens so far.
            scores: FloatTensor (B, vocab_size).

        Returns:
            FloatTensor (B, vocab_size), a new one.

        Raises:
            InputError: a row breaks the grammar, or the shapes do not fit.
        """
        self._check_shapes(input_ids, scores)
        self._states = self._advanced(input_ids) if self._grew_by_one(input_ids) else self._read(input_ids)
        self._seen = input_ids.clone()
        rows = torch.tensor([self.grammar.set_index(state) for state in self._states])
        self._legal_table = self._legal_table.to(scores.device)  # copies on the first call only
        legal = self._legal_table[rows.to(scores.device)]  # (B, vocab_size)
        return scores.masked_fill(~legal, -torch.inf)

    def _grew_by_one(self, input_ids: torch.Tensor) -> bool:
        if self._seen is None or input_ids.shape[1] != self._seen.shape[1] + 1:
            return False
        return torch.equal(self._seen, input_ids[:, :-1])

    def _advanced(self, input_ids: torch.Tensor) -> list[GrammarState]:
        last_ids = input_ids[:, -1].tolist()
        return [self._step(state, id_) for state, id_ in zip(self._states, last_ids, strict=True)]

    def _read(self, input_ids: torch.Tensor) -> list[GrammarState]:
        states: list[GrammarState] = []
        for ids in input_ids.tolist():
            state = self.grammar.start
            for id_ in ids:
                state = self._step(state, id_)
            states.append(state)
        return states

    def _step(self, state: GrammarState, id_: int) -> GrammarState:
        is_left_padding = state == self.grammar.start and id_ == self.grammar.vocabulary.pad_id
        return state if is_left_padding else self.grammar.advance(state, id_)

    def _check_shapes(self, input_ids: torch.Tensor, scores: torch.Tensor) -> None:
        expected = (len(input_ids), self.grammar.vocabulary.vocab_size)
        if input_ids.ndim != 2 or tuple(scores.shape) != expected:
            raise InputError(
                f"input_ids have shape {tuple(input_ids.shape)} and logits {tuple(scores.shape)}, expected "
                f"(rows, tokens) and {expected}: the model's vocabulary must be the joint vocabulary"
            )


class DrawLogitsProcessor(LogitsProcessor):
    """Leaves of each row's logits only the token that a given number draws, so that `generate()` must take it.

    Behind a `GrammarLogitsProcessor` this is the reference that the sampler is compared with: the same numbers give the
    same tokens. It also gives `generate()` seeds that do not depend on the batch.

    Args:
        draws: (B, T) uniform numbers in [0, 1), see `uniforms`; row t is for the t-th new token.
        sampling: temperature and truncation; guidance is `generate()`'s own affair.
        prompt_length: tokens of the prompts, padding included.
    """

    supports_continuous_batching: bool | None = False

    def __init__(self, draws: torch.Tensor, sampling: SamplingConfig, prompt_length: int):
        self.draws, self.sampling, self.prompt_length = draws, sampling, prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Keeps one token per row.

        Args:
            input_ids: LongTensor (B, T), all tokens so far.
            scores: FloatTensor (B, vocab_size), -inf where illegal.

        Raises:
            InputError: there is no number left, or one row too few.
        """
        step = input_ids.shape[1] - self.prompt_length
        if len(self.draws) != len(scores) or not 0 <= step < self.draws.shape[1]:
            raise InputError(f"token {step} of {len(scores)} rows has no number in draws {tuple(self.draws.shape)}")
        columns = draw(scores, self.draws[:, step].to(scores.device), self.sampling)
        return torch.full_like(scores, -torch.inf).scatter(1, columns[:, None], 0.0)
