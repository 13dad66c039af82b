"""Decoding with a stock Llama or Qwen3: the same weights and the same function in fewer and larger operations.

Keys and values lie in one block that was large enough from the start, and heads that share keys (grouped queries) share
one product. `generate()` spends most of its time between such operations.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .fused_prior import FusedPrior, Layer


class FusedDecoding:
    """Documents that a fused prior reads; see `decoder.Decoding`.

    Args:
        prior: the weights.
        input_ids: LongTensor (B, T), padded on the left.
        padding: LongTensor (B,), the padding of each row.
        num_new: most tokens that will be appended.
    """

    def __init__(self, prior: FusedPrior, input_ids: torch.Tensor, padding: torch.Tensor, num_new: int):
        self.prior, self.length = prior, 0
        rows, capacity = len(input_ids) * prior.num_kv_heads, input_ids.shape[1] + num_new
        block = (len(prior.layers), rows, capacity, prior.head_dim)
        self.keys = prior.embeddings.new_empty(block)
        self.values = prior.embeddings.new_empty(block)
        self.capacity = capacity
        self.cos, self.sin = prior.rotation(capacity)
        self._pad(padding)
        FusedDecoding.append(self, input_ids)  # also where single tokens are read in another way
        self._hidden = self._hidden[:, -1:]

    def append(self, ids: torch.Tensor) -> None:
        """See `decoder.Decoding`."""
        first, last = self.length, self.length + ids.shape[1]
        cos, sin = self._rotation(first, last)
        self._hidden = self._forward(ids, slice(first, last), last, cos, sin, self._mask(first, last))
        self.length = last

    def select(self, rows: torch.Tensor) -> None:
        """See `decoder.Decoding`."""
        groups = self.prior.num_kv_heads
        blocks = (rows[:, None] * groups + torch.arange(groups, device=rows.device)).flatten()
        self.keys, self.values = self._chosen(self.keys, blocks), self._chosen(self.values, blocks)
        self._hidden = self._hidden[rows]
        if self.padding is not None:
            self._pad(self.padding[rows])

    def logits(self, columns: torch.Tensor | slice) -> torch.Tensor:
        """See `decoder.Decoding`."""
        logits = self.prior.head_of(columns)(self._hidden.flatten(0, 1)).view(*self._hidden.shape[:2], -1)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _forward(
        self,
        ids: torch.Tensor,
        places: slice | torch.Tensor,
        seen: int,
        cos: torch.Tensor,
        sin: torch.Tensor,
        mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """(B, M, width) last states of new tokens, whose keys and values are written on the way.

        Args:
            ids: (B, M).
            places: where in the block of keys and values the new ones go, M places.
            seen: how much of that block attention looks at.
            cos: (1 or B, M, 1, head_dim), so is `sin`.
            sin: see `cos`.
            mask: added to scores, (B * key-value heads or 1, heads per group * M or 1, seen); None adds nothing.
        """
        prior, (count, new) = self.prior, ids.shape
        x = prior.embeddings[ids].view(count * new, -1)
        for layer, keys, values in zip(prior.layers, self.keys, self.values, strict=True):
            queries = self._store(layer, x, keys, values, places, cos, sin, count)
            x = x + layer.out(_attend(queries, keys[:, :seen], values[:, :seen], mask, count))
            gate, up = layer.gate_up(_normalised(x, prior.eps)).chunk(2, -1)
            x = x + layer.down(F.silu(gate).mul_(up))
        return (_normalised(x, prior.eps) * prior.norm).view(count, new, -1)

    def _store(
        self,
        layer: Layer,
        x: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        places: slice | torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        count: int,
    ) -> torch.Tensor:
        """(B, groups, heads per group, M, head_dim) queries of a layer's input; its keys and values are written."""
        prior = self.prior
        heads, groups, dim = prior.num_heads, prior.num_kv_heads, prior.head_dim
        qkv = layer.qkv(_normalised(x, prior.eps)).view(count, -1, heads + 2 * groups, dim)
        turned = qkv[:, :, : heads + groups]
        if layer.head_gain is not None:
            turned = _normalised(turned, prior.eps) * layer.head_gain
        turned = torch.addcmul(turned * cos, turned.roll(dim // 2, -1), sin)
        keys.view(count, groups, -1, dim)[:, :, places] = turned[:, :, heads:].transpose(1, 2)
        values.view(count, groups, -1, dim)[:, :, places] = qkv[:, :, heads + groups :].transpose(1, 2)
        return turned[:, :, :heads].unflatten(2, (groups, -1)).permute(0, 2, 3, 1, 4)

    def _rotation(self, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of the new tokens' positions, (1 or B, M, 1, head_dim) each."""
        cos, sin = self._rotations
        return cos[:, first:last], sin[:, first:last]

    def _pad(self, padding: torch.Tensor) -> None:
        """Remembers each row's padding, if there is any, what hides it from single new tokens, and rotary positions."""
        self.padding = padding if bool(padding.any()) else None
        self._padding_mask = None
        positions = torch.arange(self.capacity, device=padding.device)[None]
        if self.padding is not None:
            positions = (positions - padding[:, None]).clamp(min=0)
            hidden = torch.arange(self.capacity, device=padding.device) < padding[:, None, None]
            mask = torch.zeros(hidden.shape, dtype=self.prior.embeddings.dtype, device=padding.device)
            # (B * key-value heads, 1, capacity)
            self._padding_mask = mask.masked_fill_(hidden, -torch.inf).repeat_interleave(self.prior.num_kv_heads, 0)
        # (1 or B, capacity, 1, head_dim) each
        self._rotations = self.cos[positions][:, :, None], self.sin[positions][:, :, None]

    def _mask(self, first: int, last: int) -> torch.Tensor | None:
        """What keeps new tokens from padding and from each other's future, added to scores; None if nothing must."""
        prior, new = self.prior, last - first
        if new == 1:
            return None if self._padding_mask is None else self._padding_mask[:, :, :last]
        places = torch.arange(last, device=prior.embeddings.device)
        hidden = places > torch.arange(first, last, device=places.device)[:, None]  # (M, last)
        if self.padding is None:
            hidden = hidden[None]
        else:
            # A padding token sees itself, so that no row is left without anything to see; nobody reads what it finds.
            own = places == torch.arange(first, last, device=places.device)[:, None]
            hidden = (hidden | (places < self.padding[:, None, None])) & ~own
            hidden = hidden.repeat_interleave(prior.num_kv_heads, 0)
        mask = torch.zeros(hidden.shape, dtype=prior.embeddings.dtype, device=places.device)
        return mask.masked_fill_(hidden, -torch.inf).repeat(1, prior.num_heads // prior.num_kv_heads, 1)

    def _chosen(self, block: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Some rows of a block, as large as before though only what was read is copied."""
        chosen = block.new_empty(block.shape[0], len(rows), *block.shape[2:])
        chosen[:, :, : self.length] = block[:, rows, : self.length]
        return chosen


def _attend(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None, count: int
) -> torch.Tensor:
    """(B * M, heads * head_dim) values mixed for every query; the queries of a group are rows of one product.

    Args:
        queries: (B, groups, heads per group, M, head_dim), scaled.
        keys: (B * groups, seen, head_dim).
        values: like keys.
        mask: see `FusedDecoding._forward`.
        count: B.
    """
    groups, per_group, new, dim = queries.shape[1:]
    queries, keys = queries.reshape(count * groups, per_group * new, dim), keys.transpose(1, 2)
    scores = torch.bmm(queries, keys) if mask is None else torch.baddbmm(mask, queries, keys)
    mixed = torch.bmm(torch.softmax(scores, -1), values).view(count, groups, per_group, new, dim)
    return mixed.permute(0, 3, 1, 2, 4).reshape(count * new, -1)


def _normalised(x: torch.Tensor, eps: torch.Tensor) -> torch.Tensor:
    """Root-mean-square norm without a gain, in the type of `eps`: float32, as the stock classes compute it.

    In float32 by the length of the vectors: that takes half the time of torch's own seven operations.
    """
    if x.dtype != torch.float32:
        return F.rms_norm(x.to(eps.dtype), x.shape[-1:], None, float(eps)).to(x.dtype)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * torch.addcmul(eps, length, length, value=1 / x.shape[-1]).rsqrt_()
