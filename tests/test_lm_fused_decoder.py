from typing import Any

import pytest
import torch
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from pictogram.hub.errors import InputError
from pictogram.lm import products
from pictogram.lm.decoder import Decoding, StockDecoding, _pad_left, start
from pictogram.lm.fused_decoder import FusedDecoding
from pictogram.lm.fused_prior import FusedPrior

VOCAB = 50
EVERYTHING = slice(0, VOCAB)
MODELS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, dict(num_key_value_heads=1)),
    "qwen3 grouped": (Qwen3ForCausalLM, Qwen3Config, dict(num_key_value_heads=2, tie_word_embeddings=True)),
    "llama": (LlamaForCausalLM, LlamaConfig, dict(num_key_value_heads=4)),
    "llama with biases": (
        LlamaForCausalLM,
        LlamaConfig,
        dict(num_key_value_heads=2, attention_bias=True, mlp_bias=True, rope_parameters=dict(
            rope_type="llama3", rope_theta=1e4, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
            original_max_position_embeddings=16,
        )),
    ),
}  # fmt: skip
PROMPTS = {
    "one": [[3, 4, 5]],
    "equal": [[3, 4, 5]] * 9,
    "several lengths": [[1, 2, 3, 4], [5, 6], [1, 2, 3, 4], [7], [8, 9, 10, 11, 12, 13]],
}


def make(name: str, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    model_class, config_class, options = MODELS[name]
    torch.manual_seed(0)
    shape: dict[str, Any] = dict(
        vocab_size=VOCAB, hidden_size=64, num_hidden_layers=2, intermediate_size=48, num_attention_heads=4
    )
    config = config_class(**shape, head_dim=16, max_position_embeddings=64, **options)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # gains and biases that do something
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.to(dtype)


def difference(first: Decoding, second: Decoding) -> float:
    return float((first.logits(EVERYTHING) - second.logits(EVERYTHING)).abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("name", MODELS)
@torch.inference_mode()
def test_it_computes_what_the_stock_model_does(name: str, prompts: list[list[int]], dtype: torch.dtype):
    model = make(name, dtype)
    fused = start(model, prompts, num_new=12)
    assert isinstance(fused, FusedDecoding)
    stock = StockDecoding(model, *_pad_left(prompts, model.device))
    most = 1e-4 if dtype == torch.float32 else 1e-9
    assert difference(fused, stock) < most
    generator = torch.Generator().manual_seed(1)
    for new in (1, 1, 3, 1):
        ids = torch.randint(0, VOCAB, (len(prompts), new), generator=generator)
        fused.append(ids)
        stock.append(ids)
        assert fused.logits(EVERYTHING).shape == (len(prompts), new, VOCAB)
        assert difference(fused, stock) < most


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@torch.inference_mode()
def test_documents_may_be_dropped_repeated_and_reordered(prompts: list[list[int]]):
    model = make("qwen3 grouped", torch.float64)
    rows = torch.tensor([len(prompts) - 1, 0, 0])
    chosen = [prompts[row] for row in rows.tolist()]
    for decoding in (start(model, prompts, 5), StockDecoding(model, *_pad_left(prompts, model.device))):
        ids = torch.arange(len(prompts))[:, None] + 20
        decoding.append(ids)
        decoding.select(rows)
        fresh = start(model, [[*prompt, int(ids[row])] for prompt, row in zip(chosen, rows, strict=True)], 5)
        assert float((decoding.logits(EVERYTHING)[:, -1] - fresh.logits(EVERYTHING)[:, -1]).abs().max()) < 1e-9
        for grown in (decoding, fresh):
            grown.append(torch.tensor([[7], [8], [9]]))
        assert difference(decoding, fresh) < 1e-9


@torch.inference_mode()
def test_some_columns_are_the_same_columns():
    decoding = start(make("llama"), PROMPTS["several lengths"], 1)
    everything = decoding.logits(EVERYTHING)
    torch.testing.assert_close(decoding.logits(torch.tensor([3, 40])), everything[..., [3, 40]])
    torch.testing.assert_close(decoding.logits(slice(5, 9)), everything[..., 5:9])


@torch.inference_mode()
def test_equal_prompts_are_read_once(monkeypatch):
    read: list[int] = []
    append = FusedDecoding.append
    monkeypatch.setattr(FusedDecoding, "append", lambda self, ids: (read.append(len(ids)), append(self, ids))[1])
    decoding = start(make("qwen3"), [[1, 2], [3], [1, 2], [1, 2]], 1)
    assert read == [2]
    assert decoding.logits(EVERYTHING).shape[:2] == (4, 1)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["qwen3", "llama with biases"])
def test_packed_and_plain_products_give_the_same(name: str, monkeypatch):
    decodings = []
    for packs in (False, True):
        monkeypatch.setattr(products, "prefers_onednn", lambda packs=packs: packs)
        model = make(name)
        prior = FusedPrior.of(model)
        assert prior is not None
        assert prior.layers[0].qkv.weight.is_mkldnn == prior.head_of(slice(0, 5)).weight.is_mkldnn == packs
        assert prior.head_of(slice(0, 5)) is prior.head_of(slice(0, 5))
        decodings.append(start(model, PROMPTS["equal"], 1))
    assert difference(*decodings) < 1e-5


def test_more_tokens_than_the_context_are_refused():
    for name in ("qwen3", "llama"):
        with pytest.raises(InputError, match="prompt and new tokens need 70 places, but the model has 64"):
            start(make(name), [[1] * 10], 60)
