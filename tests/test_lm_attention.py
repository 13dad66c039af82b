import copy
import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

from pictogram.lm.attention import FLOAT32_ATTENTION, attend_in_float32

SHAPE = dict(vocab_size=50, hidden_size=64, num_hidden_layers=2, intermediate_size=64, num_attention_heads=4)


@pytest.fixture(params=[(Qwen3ForCausalLM, Qwen3Config), (LlamaForCausalLM, LlamaConfig)])
def prior(request):
    kind, config = request.param
    torch.manual_seed(0)
    return kind(config(**SHAPE, num_key_value_heads=1, head_dim=16)).eval()


@pytest.fixture
def input_ids() -> torch.Tensor:
    return torch.randint(0, 50, (4, 9), generator=torch.Generator().manual_seed(1))


def padded() -> torch.Tensor:
    attention_mask = torch.ones(4, 9, dtype=torch.int64)
    attention_mask[0, :3] = attention_mask[2, :5] = 0
    return attention_mask


@pytest.mark.parametrize("attention_mask", [None, padded()])
def test_in_float32_nothing_changes(prior, input_ids, attention_mask):
    before = prior(input_ids, attention_mask=attention_mask).logits
    attend_in_float32(prior)
    assert torch.equal(prior(input_ids, attention_mask=attention_mask).logits, before)


def attention_types(model, input_ids, monkeypatch) -> set[torch.dtype]:
    seen, function = set(), F.scaled_dot_product_attention

    def spied(*args, **settings):
        given = [value for value in (*args, *settings.values()) if isinstance(value, torch.Tensor)]
        output = function(*args, **settings)
        seen.update(value.dtype for value in (*given, output))
        return output

    with monkeypatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        patch.setattr(F, "scaled_dot_product_attention", spied)
        model(input_ids)
    return seen


def test_under_autocast_attention_alone_is_in_float32(prior, input_ids, monkeypatch):
    assert torch.bfloat16 in attention_types(prior, input_ids, monkeypatch)
    attend_in_float32(prior)
    assert attention_types(prior, input_ids, monkeypatch) == {torch.float32}
    with torch.autocast("cpu", torch.bfloat16):
        assert prior(input_ids).logits.dtype == torch.bfloat16


def test_gradients_are_nearer_to_those_of_float32(prior, input_ids):
    def gradients(model: nn.Module, *, is_rough: bool) -> torch.Tensor:
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_rough):
            logits = model(input_ids).logits.float()
        F.cross_entropy(logits[:, :-1].flatten(0, 1), input_ids[:, 1:].flatten()).backward()
        found = [parameter.grad for parameter in model.parameters()]
        return torch.cat([gradient.flatten() for gradient in found if gradient is not None])

    exact, rough = gradients(prior, is_rough=False), gradients(prior, is_rough=True)
    attend_in_float32(prior)
    better = gradients(prior, is_rough=True)
    assert 0 < (better - exact).norm() < (rough - exact).norm() < 0.05 * exact.norm()


def test_a_wrapped_model_is_reached_and_another_attention_is_left_alone(prior):
    inner = copy.deepcopy(prior)
    attend_in_float32(nn.Sequential(inner))
    assert inner.config._attn_implementation == FLOAT32_ATTENTION
    prior.set_attn_implementation("eager")
    attend_in_float32(prior)
    assert prior.config._attn_implementation == "eager"


def test_what_is_saved_says_nothing_of_it(prior, tmp_path):
    prior.save_pretrained(tmp_path / "before")
    attend_in_float32(prior)
    prior.save_pretrained(tmp_path / "after")
    before, after = ((tmp_path / name / "config.json").read_text() for name in ("before", "after"))
    assert before == after and FLOAT32_ATTENTION not in json.dumps(after)
    assert type(prior).from_pretrained(tmp_path / "after").config._attn_implementation == "sdpa"
