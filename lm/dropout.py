"""Dropout for stock models whose configuration has none: of embeddings and of what each layer adds to the residual.

It lives in forward hooks, so nothing of it is in the model that is saved.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn import functional as F

from ..hub.errors import InputError

_RESIDUAL = ("o_proj", "down_proj")
"""Last matrices of attention and MLP, as Llama, Qwen and most others call them."""


def add_dropout(model: nn.Module, share: float) -> None:
    """Drops a share of what the embeddings and every layer's two branches give, in training mode only.

    Args:
        model: a causal LM.
        share: 0..1; 0 adds nothing.

    Raises:
        InputError: the model has no such layers.
    """
    if not share:
        return
    branches = [module for name, module in model.named_modules() if name.rsplit(".", 1)[-1] in _RESIDUAL]
    if not branches:
        raise InputError(f"{type(model).__name__} has no layers called {' or '.join(_RESIDUAL)} to put dropout behind")

    def drop(module: nn.Module, inputs: Any, output: Any) -> Any:
        return F.dropout(output, share, module.training)

    for module in (model.get_input_embeddings(), *branches):  # pyright: ignore[reportCallIssue]
        module.register_forward_hook(drop)
