"""What every token of a document costs in bits under a prior: by the grammar, and as part of a caption.

By the grammar a token costs -log2 p, with p renormalised over the ids that are legal at its place.

The grammar allows many things at the beginning of a document or after a picture: text, `<null>`, a picture, the end.
Whoever knows that a caption stands there needs less: the first id is text, and each further id is text or the token
that ends this caption, `<eos>` after a picture's caption and `<image HxW>` before a picture. So a caption has two
costs. The one by the grammar adds up to that of the whole document; the other, with p renormalised over a caption's own
ids, does not hold the choice of the document's layout against the words. An empty text is no caption.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from transformers import Cache, DynamicCache, PreTrainedModel

from ..hub.errors import InputError
from .cache_keyword import cache_keyword
from .grammar import DOCUMENT, KIND_LEVEL, KIND_TEXT, Grammar, Slots

_LOGITS_AT_ONCE = 1 << 24
"""64 MB of float32: more tokens or a larger vocabulary go in parts."""


@dataclass(frozen=True, eq=False)
class TokenBits:
    """Costs of the tokens of a batch, all but each row's first one. All fields have shape (B, T - 1).

    Attributes:
        kind: int64, as in `Slots`.
        legal: float32 bits, -log2 p with p renormalised over the ids that are legal at the place; 0 for padding.
        caption: float32 bits, -log2 p with p renormalised over the ids that may come in a caption, for text and for the
            token that ends it; 0 elsewhere.
        illegal: float32 bits that the stock softmax would spend beyond `legal`; None if they were not asked for.
    """

    kind: torch.Tensor
    legal: torch.Tensor
    caption: torch.Tensor
    illegal: torch.Tensor | None

    def of_levels(self, num_levels: int) -> torch.Tensor:
        """(B, L) float64, on the CPU: bits of each level's codes in every row."""
        levels = [self.of_kind(KIND_LEVEL + level) for level in range(num_levels)]
        return torch.stack(levels, 1)

    def of_kind(self, kind: int) -> torch.Tensor:
        """(B,) float64, on the CPU: legal bits of all tokens of a kind in every row."""
        return row_sums(torch.where(self.kind == kind, self.legal, 0.0))


def row_sums(bits: torch.Tensor) -> torch.Tensor:
    """(B, T) -> (B,) float64, on the CPU."""
    return bits.cpu().double().sum(1)


class TokenScorer:
    """Reads documents with a prior.

    Args:
        model: a causal LM in evaluation mode. Its logits are the output layer's of the last hidden state, with or
            without a bias; here they are computed in float32, or in float64 if the weights are.
        grammar: of its vocabulary.

    Raises:
        InputError: the model does something else to its logits, so that they cannot be had in parts.
    """

    def __init__(self, model: PreTrainedModel, grammar: Grammar):
        self.model, self.grammar = model, grammar
        head = model.get_output_embeddings()
        assert head is not None and isinstance(head.weight, torch.Tensor)
        self._type = torch.promote_types(head.weight.dtype, torch.float32)
        bias = getattr(head, "bias", None)
        self._weight = head.weight.detach().to(self._type)  # (V, width)
        self._bias = None if bias is None else bias.detach().to(self._type)
        self._legal_ids = [ids.to(model.device) for ids in grammar.legal_sets]
        # Ids ascend, and those of text come first.
        self._num_text = int((grammar.legal_sets[DOCUMENT] < len(grammar.vocabulary.text_range)).sum())
        self._check_logits()

    @torch.inference_mode()
    def score(self, input_ids: torch.Tensor, prefix: Cache | None = None, *, with_illegal: bool = True) -> TokenBits:
        """Costs of all tokens but the first of each row.

        Args:
            input_ids: (B, T) int64, whole documents padded on the right; or, behind a prefix, its last token and what
                follows it.
            prefix: keys and values of the B rows' ids before `input_ids`, see `read_prefix`; grows by T - 1.
            with_illegal: compute `TokenBits.illegal`, which takes the full vocabulary.
        """
        input_ids = input_ids.to(self.model.device)
        slots = self.grammar.slots(input_ids)
        hidden = self._hidden(input_ids[:, :-1], prefix)  # (B, T - 1, width)
        legal, caption = self._legal_nats(hidden, input_ids, slots)
        illegal = None
        if with_illegal:
            illegal = (self._stock_nats(hidden, input_ids) - legal) / math.log(2)
        return TokenBits(slots.kind[:, 1:], legal / math.log(2), caption / math.log(2), illegal)

    @torch.inference_mode()
    def read_prefix(self, prefixes: torch.Tensor, copies: int) -> Cache | None:
        """Keys and values of (P, n) ids, each row `copies` times in a row: for (P * copies) rows behind it.

        Returns None for an empty prefix, n = 0.
        """
        if not prefixes.shape[1]:
            return None
        cache = DynamicCache(config=self.model.config)
        self._hidden(prefixes.to(self.model.device), cache)
        cache.batch_repeat_interleave(copies)
        return cache

    def _hidden(self, input_ids: torch.Tensor, prefix: Cache | None) -> torch.Tensor:
        """(B, T) ids -> (B, T, width). Padding stands on the right, where causal attention never sees it."""
        keys_and_values = {cache_keyword(self.model.base_model): prefix}
        output = self.model.base_model(input_ids=input_ids, use_cache=prefix is not None, **keys_and_values)
        return output.last_hidden_state.to(self._type)

    def _legal_nats(
        self, hidden: torch.Tensor, input_ids: torch.Tensor, slots: Slots
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`TokenBits.legal` and `TokenBits.caption`, in nats."""
        legal_set = slots.legal_set[:, 1:]
        legal = hidden.new_zeros(legal_set.shape)
        caption = legal.clone()
        captions = _CaptionPlaces.of(input_ids, slots.kind == KIND_TEXT)
        for index in legal_set.unique().tolist():
            ids = self._legal_ids[index]
            if len(ids) == 1:
                continue  # no choice, no cost
            for places in _parts((legal_set == index).nonzero(), len(ids)):
                at = places.unbind(1)
                logits = F.linear(hidden[at], self._weight[ids], None if self._bias is None else self._bias[ids])
                chosen = _column(logits, torch.searchsorted(ids, input_ids[:, 1:][at]))
                legal[at] = logits.logsumexp(1) - chosen
                if index == DOCUMENT:
                    end = torch.searchsorted(ids, captions.end[at]).clamp(max=len(ids) - 1)
                    total = self._caption_total(logits, end, captions.first[at])
                    caption[at] = torch.where(captions.inside[at], total - chosen, 0.0)
        return legal, caption

    def _caption_total(self, logits: torch.Tensor, end: torch.Tensor, is_first: torch.Tensor) -> torch.Tensor:
        """(n,) logsumexp over the ids of a caption: text, and after its first token the columns of its end, (n,)."""
        text = logits[:, : self._num_text].logsumexp(1)
        return torch.where(is_first, text, torch.logaddexp(text, _column(logits, end)))

    def _stock_nats(self, hidden: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
        """(B, T - 1) cost under the softmax over the whole vocabulary; 0 for padding."""
        nats = hidden.new_zeros(hidden.shape[:2])
        targets = input_ids[:, 1:]
        for places in _parts((targets != self.grammar.vocabulary.pad_id).nonzero(), len(self._weight)):
            at = places.unbind(1)
            nats[at] = F.cross_entropy(F.linear(hidden[at], self._weight, self._bias), targets[at], reduction="none")
        return nats

    @torch.inference_mode()
    def _check_logits(self) -> None:
        """Some models scale or cap their logits; without that the figures would be another model's."""
        probe = torch.tensor([[self.grammar.vocabulary.bos_id]], device=self.model.device)
        expected = self.model(input_ids=probe, use_cache=False).logits
        hidden = self.model.base_model(input_ids=probe, use_cache=False).last_hidden_state
        head = self.model.get_output_embeddings()
        assert head is not None
        # By the very layer, in the model's own precision: so that a difference is one, however coarse the precision.
        if not torch.equal(head(hidden).to(expected.dtype), expected):
            raise InputError(
                f"{type(self.model).__name__} changes its logits after the output layer; a rate needs a causal LM "
                "without logit scaling or capping, such as Qwen3 or Llama"
            )


@dataclass(frozen=True, eq=False)
class _CaptionPlaces:
    """Where captions are in a batch. All tensors have shape (B, T - 1), for every token but each row's first.

    Attributes:
        inside: of a caption: text, and the token that ends it.
        first: the caption's first token, which cannot be its end.
        end: id of the token that ends the caption; outside captions any id.
    """

    inside: torch.Tensor
    first: torch.Tensor
    end: torch.Tensor

    @classmethod
    def of(cls, input_ids: torch.Tensor, is_text: torch.Tensor) -> _CaptionPlaces:
        last = input_ids.shape[1] - 1
        place = torch.arange(last + 1, device=input_ids.device).expand_as(input_ids)
        next_other = torch.where(is_text, last, place).flip(1).cummin(1).values.flip(1)
        return cls(
            inside=is_text[:, 1:] | is_text[:, :-1],
            first=is_text[:, 1:] & ~is_text[:, :-1],
            end=input_ids.gather(1, next_other)[:, 1:],
        )


def _parts(places: torch.Tensor, width: int) -> Iterator[torch.Tensor]:
    """(n, 2) places in parts whose logits of `width` columns fit into memory."""
    yield from places.split(max(1, _LOGITS_AT_ONCE // width))


def _column(table: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return table.gather(1, columns[:, None]).squeeze(1)
