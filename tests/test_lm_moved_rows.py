"""Rows that learn, and everything else that cannot."""

import pytest
import torch
from tiny_chain import bundle
from tiny_language_models import language_model
from torch import nn
from transformers import PreTrainedModel

from pictogram.hub.errors import InputError
from pictogram.lm.moved_rows import MovedRows, table_names
from pictogram.lm.optimizers import build_optimizers

ARCHITECTURES = ["llama", "qwen3", "qwen3 tied", "gpt2", "phi"]
IDS = [7, 3, 40]


def learn(model: nn.Module, steps: int = 5, weight_decay: float = 0.0) -> None:
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=0.1, weight_decay=weight_decay)
    ids = torch.tensor([[3, 7, 9, 40, 7, 11, 3]])
    for _ in range(steps):
        optimizer.zero_grad()
        logits = model(input_ids=ids, use_cache=False).logits
        nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:]).backward()
        optimizer.step()


def states(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_move_and_nothing_else_whatever_the_decay(architecture):
    before = states(language_model(architecture))
    model = MovedRows(language_model(architecture), IDS)
    learn(model, weight_decay=0.1)
    after = states(model.merged())
    kept = [row for row in range(len(before[next(iter(table_names(model.prior)))])) if row not in IDS]
    for name, tensor in before.items():
        if name not in table_names(model.prior):
            assert torch.equal(after[name], tensor), name
        else:
            assert torch.equal(after[name][kept], tensor[kept]), name
            assert not torch.isclose(after[name][IDS], tensor[IDS]).all(-1).any(), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_it_computes_what_the_merged_model_does(architecture):
    prior = language_model(architecture)
    ids = torch.tensor([[1, 3, 40, 7]])
    expected = prior(input_ids=ids).logits
    model = MovedRows(prior, IDS)
    assert torch.equal(model(input_ids=ids).logits, expected)
    learn(model)
    changed = model(input_ids=ids).logits
    assert not torch.allclose(changed, expected)
    assert torch.allclose(model.merged()(input_ids=ids).logits, changed, atol=1e-6)


def test_tied_embeddings_have_one_row_for_an_id():
    assert {*MovedRows(language_model("qwen3 tied"), IDS).rows} == {"embed_tokens"}
    assert {*MovedRows(language_model("qwen3"), IDS).rows} == {"embed_tokens", "lm_head"}
    assert {*MovedRows(language_model("phi"), IDS).rows} == {"embed_tokens", "lm_head", "lm_head_bias"}
    merged = MovedRows(language_model("qwen3 tied"), IDS).merged()
    assert merged.get_input_embeddings().weight is merged.get_output_embeddings().weight  # pyright: ignore


def test_input_rows_do_not_decay_and_output_rows_do():
    model = MovedRows(bundle().prior, IDS)
    (optimizer,) = build_optimizers(model, "adamw", learning_rate=1e-3, weight_decay=0.1)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decays == {id(model.rows["embed_tokens"]): 0.0, id(model.rows["lm_head"]): 0.1}


@pytest.mark.parametrize("ids", [[], [1, 1], [-1], [10_000]])
def test_ids_that_cannot_be(ids):
    with pytest.raises(InputError, match="rows that move must be at least one of"):
        MovedRows(bundle().prior, ids)
