"""What causal language models call the keys and values they are given."""

from __future__ import annotations

import inspect

from torch import nn


def cache_keyword(model: nn.Module) -> str:
    """The argument of a model's `forward` that takes its keys and values.

    transformers 5.24 calls it "cache", earlier releases "past_key_values".
    """
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
