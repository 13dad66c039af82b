"""Image tokenizer and prior as one model."""

import copy

import pytest
import torch
from tiny_chain import image_tokenizer, prior, shared_bundle, tokenizer_folder

from pictogram.lm.code_chances import PriorChances
from pictogram.lm.fused_prior import FusedPrior
from pictogram.lm.joint_model import JointModel
from pictogram.lm.order import flatten
from pictogram.tokenizer.model import ImageTokenizer


def pixels(count=6, seed=3):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def joint(rate_weight=50.0, order="level"):
    vocabulary = shared_bundle(order).vocabulary
    model = JointModel(image_tokenizer(), copy.deepcopy(prior(vocabulary)), vocabulary, rate_weight)
    model.weigh(pixels(16, seed=9), seed=0)
    return model


@pytest.mark.parametrize("order", ["level", "pyramid"])
def test_the_rate_is_what_a_coder_would_write(order):
    model = joint(order=order)
    output = model(pixels())
    fused = FusedPrior.of(model.prior)
    assert fused is not None
    chances = PriorChances(fused, model.vocabulary, "2x2", 64)
    codes = flatten(model.tokenizer.encode(pixels()), order)
    parts = [place for part in chances.of_codes(codes) for place in part.unbind(1)]
    bits = sum(float(-part.gather(1, codes[:, [place]]).log2().sum()) for place, part in enumerate(parts))
    assert float(output.rate) == pytest.approx(bits / 6, rel=1e-5)


def test_the_prior_s_bits_reach_the_encoder_and_not_the_codebooks():
    plain, priced = joint(rate_weight=1e-9), joint(rate_weight=1e4)
    for model in (plain, priced):
        model(pixels()).loss.backward()
    weights = [dict(model.tokenizer.named_parameters()) for model in (plain, priced)]
    moved = [name for name in weights[0] if name.startswith("encoder.") and not same_gradient(weights, name)]
    assert moved and all(same_gradient(weights, name) for name in weights[0] if name.startswith("decoder."))
    assert all(book.grad is None for name, book in weights[1].items() if name.startswith("codebooks."))
    assert same_gradient([dict(model.prior.named_parameters()) for model in (plain, priced)], "lm_head.weight")


def test_every_trainable_weight_of_a_loaded_tokenizer_gets_a_gradient():
    """Several processes wait for each of them."""
    vocabulary = shared_bundle("level").vocabulary
    loaded = ImageTokenizer.from_pretrained(tokenizer_folder()).train()
    model = JointModel(loaded, copy.deepcopy(prior(vocabulary)), vocabulary, 50.0)
    model.weigh(pixels(16, seed=9), seed=0)
    model(pixels()).loss.backward()
    assert [name for name, weight in model.named_parameters() if weight.requires_grad and weight.grad is None] == []
    assert not any(weight.requires_grad for weight in loaded.codebooks.parameters())


def same_gradient(weights, name):
    first, second = (found[name].grad for found in weights)
    return first is second if first is None or second is None else torch.equal(first, second)


def test_scales_are_measured_and_then_smoothed():
    model = joint()
    first = model.scales.clone()
    assert bool((first > 0).all())
    model.weigh(pixels(16, seed=1), seed=5)
    fresh = JointModel(model.tokenizer, model.prior, model.vocabulary, 1.0)
    fresh.weigh(pixels(16, seed=1), seed=5)
    assert torch.allclose(model.scales, first.lerp(fresh.scales, 0.2))


def test_rate_falls_where_bits_are_dear():
    """A few steps of the encoder alone, towards expected bits: those of the codes that are chosen fall."""
    model = joint(rate_weight=3e3)
    encoder = [weight for name, weight in model.tokenizer.named_parameters() if name.startswith("encoder.")]
    optimizer = torch.optim.Adam(encoder, lr=3e-3)
    rates = []
    for _ in range(30):
        output = model(pixels(32))
        rates.append(float(output.rate))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert rates[-1] < 0.9 * rates[0]
