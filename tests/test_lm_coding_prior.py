"""The prior in float64 from end to end."""

import math
from typing import Any, cast

import pytest
import torch
from tiny_chain import prior, shared_bundle
from transformers import GPT2Config, GPT2LMHeadModel, Qwen3Config, Qwen3ForCausalLM

from pictogram.hub.errors import InputError
from pictogram.lm.coding_prior import ExactRotary, coding_prior
from pictogram.lm.fused_decoder import FusedDecoding


def test_everything_is_float64():
    fused = coding_prior(prior(shared_bundle("level").vocabulary))
    tensors = [fused.embeddings, fused.norm, fused.head, fused.eps, *fused.rotation(9)]
    tensors += [layer.qkv.weight for layer in fused.layers]
    assert {tensor.dtype for tensor in tensors} == {torch.float64}


def test_the_model_stays_as_it_was():
    model = prior(shared_bundle("level").vocabulary)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    coding_prior(model)
    assert model.dtype == torch.float32
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_pass_and_steps_agree_to_the_last_digits():
    """What float32 anywhere on the way would spoil: stock norms and rotary positions leave 1e-8."""
    vocabulary = shared_bundle("level").vocabulary
    fused = coding_prior(prior(vocabulary))
    ids = torch.randint(vocabulary.vocab_size, (7, 40), generator=torch.Generator().manual_seed(0))
    none = torch.zeros(7, dtype=torch.int64)
    whole = FusedDecoding(fused, ids[:, :1], none, 40)
    whole.append(ids[:, 1:])
    expected = whole.logits(slice(None))
    steps = FusedDecoding(fused, ids[:, :1], none, 40)
    for place in range(1, 40):
        steps.append(ids[:, place : place + 1])
        assert torch.allclose(steps.logits(slice(None))[:, 0], expected[:, place - 1], rtol=0, atol=1e-12)


def test_rotary_positions_are_those_of_the_stock_class():
    model = prior(shared_bundle("level").vocabulary)
    positions = torch.arange(30)[None]
    stock = cast(Any, model.base_model).rotary_emb(torch.zeros(1), positions)
    exact = ExactRotary(model.config.rope_parameters["rope_theta"], 16)(torch.zeros(1), positions)
    for ours, theirs in zip(exact, stock, strict=True):
        assert torch.allclose(ours, theirs.double(), atol=1e-5)
    assert float(exact[0][0, 29, 1]) == pytest.approx(math.cos(29 * 10_000 ** (-2 / 16)), abs=1e-15)


def scaled(**rope):
    config = Qwen3Config(
        vocab_size=32, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, head_dim=16,
        num_key_value_heads=1, rope_parameters={"rope_theta": 1e4, **rope},
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def test_models_whose_chances_cannot_be_had_exactly_are_refused():
    with pytest.raises(InputError, match="GPT2LMHeadModel cannot be used for compression"):
        coding_prior(GPT2LMHeadModel(GPT2Config(vocab_size=32, n_embd=16, n_layer=1, n_head=1)).eval())
    with pytest.raises(InputError, match="plain rotary"):
        coding_prior(scaled(rope_type="linear", factor=2.0))
