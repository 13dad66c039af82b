from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from pictogram.hub.errors import InputError
from pictogram.lm.dropout import add_dropout

IDS = torch.arange(12)[None]


def llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape: dict[str, Any] = dict(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, intermediate_size=48, num_attention_heads=2
    )
    return LlamaForCausalLM(LlamaConfig(**shape))


def test_it_drops_in_training_only():
    model = llama()
    plain = model.eval()(IDS).logits
    add_dropout(model, 0.5)
    assert torch.equal(model.eval()(IDS).logits, plain)
    model.train()
    assert not torch.equal(model(IDS).logits, model(IDS).logits)


def test_the_share_is_the_share():
    model = llama().train()
    add_dropout(model, 0.25)
    dropped = [float((model.get_input_embeddings()(IDS) == 0).double().mean()) for _ in range(50)]
    assert sum(dropped) / 50 == pytest.approx(0.25, abs=0.02)


def test_no_share_adds_nothing_and_other_models_are_refused():
    model = llama()
    add_dropout(model, 0.0)
    assert not model.get_input_embeddings()._forward_hooks
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=20, n_embd=16, n_layer=1, n_head=2, n_positions=8))
    with pytest.raises(InputError, match="GPT2LMHeadModel has no layers called o_proj or down_proj"):
        add_dropout(gpt, 0.1)
