"""Decoding with a stock Llama or Qwen3: the same weights and the same function in fewer and larger operations.

Queries, keys and values are one product, so are gate and up; the gains of the norms before them are folded into these
matrices; keys and values lie in one block that was large enough from the start; and heads that share keys (grouped
queries) share one product. `generate()` spends most of its time between such operations.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen3ForCausalLM

from .products import PackedLinear

_STATIC_ROPE = ("default", "linear", "llama3")
"""Rotary positions that do not depend on the length of what is read."""

_FUSED: weakref.WeakKeyDictionary[PreTrainedModel, tuple[tuple[int, ...], FusedPrior]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer's products."""

    qkv: PackedLinear
    head_gain: torch.Tensor | None
    """(heads + key-value heads, head_dim) gains of the norms of queries and keys, in Qwen3."""
    out: PackedLinear
    gate_up: PackedLinear
    down: PackedLinear


@dataclass(frozen=True, eq=False)
class FusedPrior:
    """The weights of a stock model, rearranged. Make it with `of`.

    Attributes:
        embeddings: (V, width).
        layers: in order.
        norm: (width,) gain of the last norm.
        head: (V, width).
        cos: (context, head_dim) of the rotary positions.
        sin: (context, head_dim), its first half negated.
        num_heads: of queries.
        num_kv_heads: of keys and values.
        head_dim: of both.
        eps: () float32, of all norms.
    """

    embeddings: torch.Tensor
    layers: tuple[_Layer, ...]
    norm: torch.Tensor
    head: torch.Tensor
    cos: torch.Tensor
    sin: torch.Tensor
    num_heads: int
    num_kv_heads: int
    head_dim: int
    eps: torch.Tensor
    _packed_heads: dict[tuple[int, int], PackedLinear] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, model: PreTrainedModel) -> FusedPrior | None:
        """The rearranged weights of a model, remembered until they change; None for a model of another kind."""
        if not _is_supported(model):
            return None
        state = tuple(
            number for p in model.parameters() for number in (p.data_ptr(), 0 if p.is_inference() else p._version)
        )
        remembered = _FUSED.get(model)
        if remembered is None or remembered[0] != state:
            remembered = _FUSED[model] = (state, _rearranged(model))
        return remembered[1]

    def head_of(self, columns: torch.Tensor | slice) -> PackedLinear:
        """The output layer of some ids; for those of a slice, as the codes of a level are, it is remembered."""
        if isinstance(columns, torch.Tensor):
            return PackedLinear(self.head[columns], None)
        first, last, _ = columns.indices(len(self.head))
        if (first, last) not in self._packed_heads:
            self._packed_heads[first, last] = PackedLinear.of(self.head[first:last], None)
        return self._packed_heads[first, last]


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
        self._pad(padding)
        self.append(input_ids)
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
        layer: _Layer,
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
        prior = self.prior
        if self.padding is None:
            return prior.cos[None, first:last, None], prior.sin[None, first:last, None]
        assert self._rotations is not None
        cos, sin = self._rotations
        return cos[:, first:last], sin[:, first:last]

    def _pad(self, padding: torch.Tensor) -> None:
        """Remembers each row's padding, its positions, and what hides it from single new tokens, if there is any."""
        self.padding = padding if bool(padding.any()) else None
        self._padding_mask = self._rotations = None
        if self.padding is not None:
            positions = (torch.arange(self.capacity, device=padding.device) - padding[:, None]).clamp(min=0)
            # (B, capacity, 1, head_dim) each
            self._rotations = self.prior.cos[positions][:, :, None], self.prior.sin[positions][:, :, None]
            hidden = torch.arange(self.capacity, device=padding.device) < padding[:, None, None]
            mask = torch.zeros(hidden.shape, dtype=self.prior.cos.dtype, device=padding.device)
            # (B * key-value heads, 1, capacity)
            self._padding_mask = mask.masked_fill_(hidden, -torch.inf).repeat_interleave(self.prior.num_kv_heads, 0)

    def _mask(self, first: int, last: int) -> torch.Tensor | None:
        """What keeps new tokens from padding and from each other's future, added to scores; None if nothing must."""
        prior, new = self.prior, last - first
        if new == 1:
            return None if self._padding_mask is None else self._padding_mask[:, :, :last]
        places = torch.arange(last, device=prior.cos.device)
        hidden = places > torch.arange(first, last, device=places.device)[:, None]  # (M, last)
        if self.padding is None:
            hidden = hidden[None]
        else:
            # A padding token sees itself, so that no row is left without anything to see; nobody reads what it finds.
            own = places == torch.arange(first, last, device=places.device)[:, None]
            hidden = (hidden | (places < self.padding[:, None, None])) & ~own
            hidden = hidden.repeat_interleave(prior.num_kv_heads, 0)
        mask = torch.zeros(hidden.shape, dtype=prior.cos.dtype, device=places.device)
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
    """Root-mean-square norm without a gain, in float32 whatever `x` is, as the stock classes compute it.

    In float32 by the length of the vectors: that takes half the time of torch's own seven operations.
    """
    if x.dtype != torch.float32:
        return F.rms_norm(x.float(), x.shape[-1:], None, float(eps)).to(x.dtype)
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x * torch.addcmul(eps, length, length, value=1 / x.shape[-1]).rsqrt_()


def _is_supported(model: PreTrainedModel) -> bool:
    """Whether a model is a stock Llama or Qwen3 with nothing that this file leaves out."""
    if type(model) not in (LlamaForCausalLM, Qwen3ForCausalLM):
        return False
    config = model.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    slides = any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ())
    projections = [module for module in model.modules() if isinstance(module, nn.Linear)]
    is_plain = all(type(module) is nn.Linear for module in projections)  # no adapters, no quantised weights
    head = model.get_output_embeddings()
    has_plain_head = isinstance(head, nn.Linear) and head.bias is None
    return config.hidden_act == "silu" and rope in _STATIC_ROPE and not slides and is_plain and has_plain_head


@torch.no_grad()
def _rearranged(model: PreTrainedModel) -> FusedPrior:
    config, body = model.config, cast(Any, model.base_model)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight  # pyright: ignore
    assert isinstance(embeddings, torch.Tensor)
    assert isinstance(head, torch.Tensor)
    positions = torch.arange(config.max_position_embeddings, device=embeddings.device)[None]
    cos, sin = body.rotary_emb(embeddings, positions)  # (1, context, head_dim), in the model's type
    half = cos.shape[-1] // 2
    sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
    return FusedPrior(
        embeddings=embeddings.detach(),
        layers=tuple(_fused_layer(layer) for layer in body.layers),
        norm=body.norm.weight.detach(),
        head=head.detach(),
        cos=cos[0],
        sin=sin[0],
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=cos.shape[-1],
        eps=torch.tensor(config.rms_norm_eps, device=embeddings.device),
    )


def _fused_layer(layer: Any) -> _Layer:
    attention, mlp = layer.self_attn, layer.mlp
    scale = attention.scaling  # of scores: folded into queries, through their gain or their matrix
    inner = [attention.q_proj, attention.k_proj, attention.v_proj]
    heads, groups = (m.out_features // attention.head_dim for m in inner[:2])
    gain = None
    query_scale = scale
    if hasattr(attention, "q_norm"):
        gain = torch.cat(
            [(attention.q_norm.weight * scale).expand(heads, -1), attention.k_norm.weight.expand(groups, -1)]
        )
        query_scale = 1.0
    out, down = attention.o_proj, mlp.down_proj
    return _Layer(
        qkv=_joined(inner, [query_scale, 1.0, 1.0], layer.input_layernorm.weight),
        head_gain=gain,
        out=PackedLinear.of(out.weight.detach(), out.bias),
        gate_up=_joined([mlp.gate_proj, mlp.up_proj], [1.0, 1.0], layer.post_attention_layernorm.weight),
        down=PackedLinear.of(down.weight.detach(), down.bias),
    )


def _joined(modules: list[nn.Linear], scales: list[float], gain: torch.Tensor) -> PackedLinear:
    """Matrices one above the other, each scaled, with the gain of the norm before them; and their biases, likewise."""
    scaled = list(zip(modules, scales, strict=True))
    weight = torch.cat([module.weight * scale for module, scale in scaled]) * gain
    bias = None if modules[0].bias is None else torch.cat([module.bias * scale for module, scale in scaled])
    return PackedLinear.of(weight, bias)
