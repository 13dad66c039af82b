"""Adapters of low rank."""

import pytest
import torch
from tiny_model import make, pictures

from pictogram.hub.errors import InputError
from pictogram.tokenizer.low_rank import LowRankAdapters, rank_within


def test_they_change_nothing_at_first_and_merge_to_the_same_pictures():
    model = make()
    codes = model.encode(pictures(2))
    vectors = [model.embed_codes(level, each) for level, each in enumerate(codes)]
    adapters = LowRankAdapters(model.decoder, 2, seed=0)
    before = model.decoder(vectors, 3)
    assert torch.equal(adapters.decode(vectors, 3), before)
    with torch.no_grad():
        for factor in adapters.up:
            factor.normal_()
    adapted = adapters.decode(vectors, 3)
    assert torch.equal(model.decoder(vectors, 3), before), "the network itself waits for the merge"
    adapters.merge()
    assert not torch.equal(adapted, before)
    assert torch.equal(model.decoder(vectors, 3), adapted)


def test_gradients_reach_the_adapters_only():
    model = make()
    vectors = [model.embed_codes(level, each) for level, each in enumerate(model.encode(pictures(1)))]
    adapters = LowRankAdapters(model.decoder, 1, seed=0)
    adapters.decode(vectors, 3).square().sum().backward()
    assert any(factor.grad is not None and factor.grad.any() for factor in adapters.up)
    assert all(model.get_parameter(f"decoder.{name}").grad is None for name in adapters.names)


@pytest.mark.parametrize("rank", [1, 3])
def test_the_rank_within_a_budget(rank):
    decoder = make().decoder
    count = LowRankAdapters(decoder, rank, seed=0).num_parameters
    assert rank_within(decoder, count) == rank
    if rank > 1:
        assert rank_within(decoder, count - 1) == rank - 1
    assert rank_within(decoder, 10**9) == max(min(decoder.get_parameter(n).shape) for n in _names(decoder))


def _names(decoder) -> list[str]:
    return LowRankAdapters(decoder, 1, seed=0).names


def test_a_budget_too_small_is_refused():
    with pytest.raises(InputError, match=r"lora_budget must be at least \d+, .* got 3"):
        rank_within(make().decoder, 3)
