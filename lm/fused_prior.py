"""The weights of a stock Llama or Qwen3, rearranged for decoding.

Queries, keys and values are one product, so are gate and up; the gains of the norms before them are folded into these
matrices.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import nn
from transformers import LlamaForCausalLM, PreTrainedModel, Qwen3ForCausalLM

from .products import PackedLinear

_ACTIVATIONS = "transformers.activations"

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By their bytes."""

_STATIC_ROPE = ("default", "linear", "llama3")
"""Rotary positions that do not depend on the length of what is read."""

_State = tuple[torch.device, torch.dtype, tuple[int, ...]]

_FUSED: weakref.WeakKeyDictionary[PreTrainedModel, tuple[_State, FusedPrior]] = weakref.WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Layer:
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
        rotary: the model's module of rotary positions.
        num_heads: of queries.
        num_kv_heads: of keys and values.
        head_dim: of both.
        eps: () of all norms, in the type that they are computed in; float32 in the stock classes.
    """

    embeddings: torch.Tensor
    layers: tuple[Layer, ...]
    norm: torch.Tensor
    head: torch.Tensor
    rotary: nn.Module
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
        state = _state(model)
        remembered = _FUSED.get(model)
        if remembered is None or remembered[0] != state:
            remembered = _FUSED[model] = (state, _rearranged(model))
        return remembered[1]

    def rotation(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosines and sines of the first positions, (count, head_dim) each, the first half of the sines negated."""
        positions = torch.arange(count, device=self.embeddings.device)[None]
        cos, sin = self.rotary(self.embeddings, positions)  # (1, count, head_dim), in the model's type
        return cos[0], torch.cat([-sin[0, :, : self.head_dim // 2], sin[0, :, self.head_dim // 2 :]], -1)

    def head_of(self, columns: torch.Tensor | slice) -> PackedLinear:
        """The output layer of some ids; for those of a slice, as the codes of a level are, it is remembered."""
        if isinstance(columns, torch.Tensor):
            return PackedLinear(self.head[columns], None)
        first, last, _ = columns.indices(len(self.head))
        if (first, last) not in self._packed_heads:
            self._packed_heads[first, last] = PackedLinear.of(self.head[first:last], None)
        return self._packed_heads[first, last]


@torch.no_grad()
def _state(model: PreTrainedModel) -> _State:
    """What tells weights from others: sums of all their bits.

    Fused optimizers, and whoever writes into `.data`, leave neither a version nor an address that would.
    """
    sums = torch.stack([_sum_of_bits(parameter) for parameter in model.parameters()])
    return model.device, model.dtype, tuple(sums.tolist())


def _sum_of_bits(parameter: torch.Tensor) -> torch.Tensor:
    """() int64, wrapping around; as fast as memory is read."""
    flat = parameter.detach().flatten()
    size = flat.element_size()
    return flat.view(_INTEGERS[8 if flat.nbytes % 8 == 0 else size]).sum()


def _is_stock(module: nn.Module, source: str) -> bool:
    """Whether a module computes what its class in torch, or in the model's own file, says: no adapter, no hook."""
    home = type(module).__module__
    is_known = home.startswith("torch.nn.modules.") or home in (source, _ACTIVATIONS)
    return is_known and not module._forward_hooks and not module._forward_pre_hooks


def _is_supported(model: PreTrainedModel) -> bool:
    """Whether a model is a stock Llama or Qwen3 with nothing that this file leaves out."""
    if type(model) not in (LlamaForCausalLM, Qwen3ForCausalLM):
        return False
    if not all(_is_stock(module, type(model).__module__) for module in model.modules()):
        return False
    config = model.config
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    slides = any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ())
    head = model.get_output_embeddings()
    has_plain_head = isinstance(head, nn.Linear) and head.bias is None
    return config.hidden_act == "silu" and rope in _STATIC_ROPE and not slides and has_plain_head


@torch.no_grad()
def _rearranged(model: PreTrainedModel) -> FusedPrior:
    config, body = model.config, cast(Any, model.base_model)
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight  # pyright: ignore
    assert isinstance(embeddings, torch.Tensor)
    assert isinstance(head, torch.Tensor)
    return FusedPrior(
        embeddings=embeddings.detach(),
        layers=tuple(_fused_layer(layer) for layer in body.layers),
        norm=body.norm.weight.detach(),
        head=head.detach(),
        rotary=body.rotary_emb,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=body.layers[0].self_attn.head_dim,
        eps=torch.tensor(config.rms_norm_eps, device=embeddings.device),
    )


def _fused_layer(layer: Any) -> Layer:
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
    return Layer(
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
