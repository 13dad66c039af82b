"""Attention in float32 where the rest of a training computes in bfloat16, on CPUs.

Products in bfloat16 are faster on a CPU that has instructions for them; attention of short documents is not, for its
products are small and its softmax is computed in float32 anyway. It reaches stock models by transformers' own register
of attention functions, so every architecture that uses it gets the same.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

FLOAT32_ATTENTION = "sdpa_float32"
"""Name of the attention function in transformers' register."""


def float32_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Torch's scaled dot-product attention, computed in float32 under autocast too.

    Args:
        module: the layer.
        query: (B, heads, T, head_dim), of any type.
        key: (B, key-value heads, S, head_dim).
        value: (B, key-value heads, S, head_dim).
        attention_mask: boolean or added to scores, (B or 1, 1, T, S); None is causal or nothing, as the layer says.
        settings: of `sdpa_attention_forward`.

    Returns:
        (B, T, heads, head_dim) float32, and None in place of weights.
    """
    if attention_mask is not None and attention_mask.is_floating_point():
        attention_mask = attention_mask.float()
    with torch.autocast(query.device.type, enabled=False):
        return sdpa_attention_forward(module, query.float(), key.float(), value.float(), attention_mask, **settings)


AttentionInterface.register(FLOAT32_ATTENTION, float32_attention)
AttentionMaskInterface.register(FLOAT32_ATTENTION, sdpa_mask)


def attend_in_float32(model: nn.Module) -> None:
    """Has the stock models in `model` that use torch's attention compute it in float32. Saved models say nothing of it.

    Args:
        model: a causal LM, or a module that wraps one.
    """
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation == "sdpa":
            module.set_attn_implementation(FLOAT32_ATTENTION)
