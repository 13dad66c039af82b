from collections.abc import Callable
from typing import Any

import pytest
import torch
from peft import LNTuningConfig, LoraConfig, PeftConfig, TrainableTokensConfig, get_peft_model
from test_lm_fused_decoder import EVERYTHING, PROMPTS, VOCAB, make
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from pictogram.lm.decoder import StockDecoding, start
from pictogram.lm.fused_prior import FusedPrior


def fused_step(model: PreTrainedModel) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def written_through_data(model: PreTrainedModel) -> None:
    model.get_parameter("model.layers.1.self_attn.o_proj.weight").data.mul_(1.5)


def added_in_place(model: PreTrainedModel) -> None:
    with torch.no_grad():
        model.get_parameter("model.layers.0.mlp.up_proj.weight")[3, 5] += 1e-3


def negated(model: PreTrainedModel) -> None:
    model.get_parameter("model.norm.weight").data.neg_()


@pytest.mark.parametrize("change", [fused_step, written_through_data, added_in_place, negated])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_change_are_read_again(change: Callable[[PreTrainedModel], None], dtype: torch.dtype):
    model = make("qwen3", dtype)
    first = FusedPrior.of(model)
    assert first is not None
    assert FusedPrior.of(model) is first
    change(model)
    assert FusedPrior.of(model) not in (None, first)


def test_another_precision_is_another_prior():
    model = make("llama")
    first = FusedPrior.of(model)
    assert FusedPrior.of(model.double()) not in (None, first)


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(target_modules=["q_proj"]),
        LoraConfig(target_modules=["embed_tokens"]),
        LNTuningConfig(target_modules=["post_attention_layernorm"]),
        TrainableTokensConfig(token_indices=[1, 2], target_modules=["embed_tokens"]),
    ],
    ids=["projections", "embeddings", "norms", "tokens"],
)
def test_adapters_are_left_to_transformers(config: PeftConfig):
    config.inference_mode = False
    model = make("qwen3")
    assert FusedPrior.of(model) is not None
    get_peft_model(model, config)  # writes its layers into the model
    assert FusedPrior.of(model) is None
    with torch.inference_mode():
        assert isinstance(start(model, [[1, 2]], 1), StockDecoding)


def test_hooks_and_other_layers_are_left_to_transformers():
    hooked = make("llama")
    handle = hooked.get_submodule("model.layers.0.mlp").register_forward_hook(lambda *_: None)
    assert FusedPrior.of(hooked) is None
    handle.remove()
    assert FusedPrior.of(hooked) is not None
    sliding = make("qwen3")
    sliding.config.layer_types = ["sliding_attention", "full_attention"]
    assert FusedPrior.of(sliding) is None

    class OtherLinear(torch.nn.Linear):
        """What quantised weights put in the place of a linear layer."""

    layer: Any = hooked.get_submodule("model.layers.0.mlp")
    layer.up_proj = OtherLinear(64, 48, bias=False)
    assert FusedPrior.of(hooked) is None


def test_other_models_are_left_to_transformers():
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=1, n_head=2, n_positions=16)).eval()
    assert FusedPrior.of(gpt) is None
    with torch.inference_mode():
        decoding = start(gpt, PROMPTS["several lengths"], 3)
        assert isinstance(decoding, StockDecoding)
        decoding.append(torch.full((5, 2), 9))
        assert decoding.logits(EVERYTHING).shape == (5, 2, VOCAB)
