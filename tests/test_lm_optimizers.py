from typing import Any

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from pictogram.lm.moved_rows import MovedRows
from pictogram.lm.optimizers import OPTIMIZERS, build_optimizers


def llama(tied: bool = False) -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape: dict[str, Any] = dict(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=2
    )
    return LlamaForCausalLM(LlamaConfig(**shape, tie_word_embeddings=tied, attention_bias=True))


def groups(model: torch.nn.Module, name: str) -> dict[str, tuple[str, float]]:
    """The optimizer and the weight decay of every parameter, by its name."""
    names = {id(value): key for key, value in model.named_parameters()}
    found = [
        (names[id(parameter)], (type(optimizer).__name__, group["weight_decay"]))
        for optimizer in build_optimizers(model, name, learning_rate=1e-3, weight_decay=0.3)
        for group in optimizer.param_groups
        for parameter in group["params"]
    ]
    assert len(dict(found)) == len(found)
    return dict(found)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_is_trained_once_and_only_matrices_decay(name: str, tied: bool):
    model = llama(tied)
    found = groups(model, name)
    assert found.keys() == dict(model.named_parameters()).keys()
    hidden = "Muon" if name == "muon" else "AdamW"
    for key, value in found.items():
        if "embed_tokens" in key or "norm" in key or "bias" in key:
            assert value == ("AdamW", 0.0), key
        else:
            assert value == ("AdamW" if key == "lm_head.weight" else hidden, 0.3), key


def test_frozen_parameters_are_left_out():
    model = llama()
    model.get_input_embeddings().requires_grad_(False)
    assert "model.embed_tokens.weight" not in groups(model, "muon")
    model.requires_grad_(False)
    model.get_parameter("model.layers.0.self_attn.q_proj.weight").requires_grad_(True)
    assert groups(model, "muon") == {"model.layers.0.self_attn.q_proj.weight": ("Muon", 0.3)}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_embeddings_never_decay_whatever_they_are_called(name: str):
    found = groups(GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2, n_positions=8)), name)
    assert found["transformer.wpe.weight"] == found["transformer.wte.weight"] == ("AdamW", 0.0)
    shape: dict[str, Any] = dict(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    found = groups(GPTNeoXForCausalLM(GPTNeoXConfig(intermediate_size=16, **shape)), name)
    assert found["gpt_neox.embed_in.weight"] == ("AdamW", 0.0)
    assert found["lm_head.weight"] == ("AdamW", 0.3)


def test_rows_of_embeddings_that_learn_alone_do_not_decay_either():
    shape: dict[str, Any] = dict(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2)
    model = MovedRows(GPTNeoXForCausalLM(GPTNeoXConfig(intermediate_size=16, **shape)), [3, 4])
    assert groups(model, "adamw") == {"rows.embed_tokens": ("AdamW", 0.0), "rows.lm_head": ("AdamW", 0.3)}
