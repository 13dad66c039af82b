"""Growing documents token by token: a model, and for each batch the keys and values of what it has read.

`start` gives a `Decoding` in which prompts have been read. Two kinds do the same thing: `StockDecoding` asks any causal
LM of transformers; `FusedDecoding` (lm/fused_decoder.py) reads the weights of Llama and Qwen3 and is several times
faster.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Protocol

import torch
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

from ..hub.errors import InputError
from .cache_keyword import cache_keyword
from .fused_decoder import FusedDecoding
from .fused_prior import FusedPrior
from .static_decoder import StaticDecoding


class Decoding(Protocol):
    """B documents that grow together."""

    def append(self, ids: torch.Tensor) -> None:
        """Reads M more tokens of every document.

        Args:
            ids: LongTensor (B, M).
        """
        ...

    def select(self, rows: torch.Tensor) -> None:
        """Goes on with some documents only, in this order, any of them more than once.

        Args:
            rows: LongTensor (B',).
        """
        ...

    def logits(self, columns: torch.Tensor | slice) -> torch.Tensor:
        """(B, M, n) logits after each of the tokens read last, for n ids only; float32, or float64 if the model is.

        Args:
            columns: LongTensor (n,) of ids, or a slice of all ids.
        """
        ...


def start(model: PreTrainedModel, prompts: Sequence[Sequence[int]], num_new: int) -> Decoding:
    """Reads prompts.

    Args:
        model: a causal LM in evaluation mode.
        prompts: B lists of ids, at least one each; lengths may differ. Equal ones are read once.
        num_new: most tokens that will be appended.

    Raises:
        InputError: prompts and new tokens need more than the model's context.
    """
    distinct = {tuple(prompt): None for prompt in prompts}
    numbers = {prompt: number for number, prompt in enumerate(distinct)}
    check_room(model, max(map(len, distinct)), num_new)
    fused = FusedPrior.of(model)
    padded, padding = _pad_left(list(distinct), model.device)
    decoding: Decoding
    if fused is not None and model.device.type == "cuda":
        decoding = StaticDecoding(fused, padded, padding, num_new, graphed=True)
    elif fused is not None:
        decoding = FusedDecoding(fused, padded, padding, num_new)
    else:
        decoding = StockDecoding(model, padded, padding)
    if len(distinct) < len(prompts):
        decoding.select(torch.tensor([numbers[tuple(prompt)] for prompt in prompts], device=model.device))
    return decoding


class StockDecoding:
    """Documents that a stock model reads.

    Args:
        model: any causal LM of transformers.
        input_ids: LongTensor (B, T), padded on the left.
        padding: LongTensor (B,), the padding of each row.
    """

    def __init__(self, model: PreTrainedModel, input_ids: torch.Tensor, padding: torch.Tensor):
        self.model = model
        self.cache, self._cache_keyword = DynamicCache(config=model.config), cache_keyword(model)
        self._keeps_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.mask = (torch.arange(input_ids.shape[1], device=padding.device) >= padding[:, None]).long()
        self._read(input_ids, (self.mask.cumsum(1) - 1).clamp(min=0), num_logits=1)

    def append(self, ids: torch.Tensor) -> None:
        """See `Decoding`."""
        positions = self.mask.sum(1, keepdim=True) + torch.arange(ids.shape[1], device=ids.device)
        self.mask = F.pad(self.mask, (0, ids.shape[1]), value=1)
        self._read(ids, positions, num_logits=ids.shape[1])

    def select(self, rows: torch.Tensor) -> None:
        """See `Decoding`."""
        self.cache.batch_select_indices(rows)
        self.mask, self._logits = self.mask[rows], self._logits[rows]

    def logits(self, columns: torch.Tensor | slice) -> torch.Tensor:
        """See `Decoding`."""
        logits = self._logits[..., columns]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _read(self, input_ids: torch.Tensor, positions: torch.Tensor, num_logits: int) -> None:
        # The whole model, not its body and our choice of rows: some models scale or cap their logits.
        output = self.model(
            input_ids=input_ids,
            attention_mask=self.mask,
            position_ids=positions,
            use_cache=True,
            **{self._cache_keyword: self.cache},
            **({"logits_to_keep": num_logits} if self._keeps_logits else {}),
        )
        self._logits = output.logits[:, -num_logits:]  # (B, M, V)


def check_room(model: PreTrainedModel, longest: int, num_new: int) -> None:
    """Raises `InputError` if prompts of up to `longest` tokens and new ones are more than the model's context."""
    context = model.config.max_position_embeddings
    if longest + num_new > context:
        raise InputError(f"prompt and new tokens need {longest + num_new} places, but the model has {context}")


def _pad_left(prompts: Sequence[Sequence[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, T) ids with zeros on the left, and (B,) the number of zeros."""
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    return padded, torch.tensor([longest - len(prompt) for prompt in prompts], device=device)
