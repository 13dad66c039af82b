"""Codes chosen by bits and errors."""

import pytest
import torch
from tiny_chain import image_tokenizer, prior, shared_bundle
from tiny_codec import static_chances

from pictogram.lm.code_chances import PriorChances
from pictogram.lm.fused_prior import FusedPrior
from pictogram.lm.order import flatten, unflatten
from pictogram.pipelines.rate_distortion import CAUTIONS, RateDistortion, cautious

GRIDS = ((1, 1), (2, 2))


def pixels(count=24, seed=3):
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def prior_chances():
    vocabulary = shared_bundle("level").vocabulary
    fused = FusedPrior.of(prior(vocabulary))
    assert fused is not None
    return PriorChances(fused, vocabulary, "2x2", 64)


def cost(chances, codes, model, pixel_values, num_levels=2):
    """Bits, and squared errors of pixels of 0 to 255."""
    parts = [row for part in chances.of_codes(codes) for row in part.unbind(1)]
    bits = sum(float(-row.gather(1, codes[:, [place]]).log2().sum()) for place, row in enumerate(parts))
    pictures = model.decode(unflatten(codes, GRIDS[:num_levels], "level"), num_levels)
    return bits, float((pictures - pixel_values).square().sum()) * 127.5**2


@pytest.mark.parametrize("make", [prior_chances, static_chances])
def test_free_bits_leave_the_nearest_codes(make):
    model, pixel_values = image_tokenizer(), pixels()
    trade = RateDistortion(model, make(), 0.0, [1.0, 1.0])
    assert torch.equal(trade.encode(pixel_values, 2), flatten(model.encode(pixel_values), "level"))
    assert torch.equal(trade.encode(pixel_values, 1), model.encode(pixel_values)[0].flatten(1))


@pytest.mark.parametrize("make", [prior_chances, static_chances])
def test_dear_bits_are_spared(make):
    model, pixel_values, chances = image_tokenizer(), pixels(), make()
    bits = [cost(chances, trade, model, pixel_values)[0] for trade in encoded(model, pixel_values, chances)]
    assert bits == sorted(bits, reverse=True) and bits[-1] < 0.85 * bits[0]


def encoded(model, pixel_values, chances):
    return [
        RateDistortion(model, chances, weight, [1.0, 1.0]).encode(pixel_values, 2) for weight in (0.0, 0.3, 3.0, 1e6)
    ]


def test_priceless_bits_leave_the_likeliest_codes():
    chances = static_chances()
    codes = RateDistortion(image_tokenizer(), chances, 1e9, [1.0, 1.0]).encode(pixels(3), 2)
    assert codes.tolist() == [[int(chances.at(place).argmax()) for place in range(5)]] * 3


def test_each_picture_is_coded_alone():
    model, chances = image_tokenizer(), prior_chances()
    trade = RateDistortion(model, chances, 0.3, [1.0, 1.0])
    together = trade.encode(pixels(6), 2)
    assert torch.equal(together, torch.cat([trade.encode(picture[None], 2) for picture in pixels(6)]))


@pytest.mark.parametrize("num_levels", [1, 2])
def test_bits_of_the_chosen_codes(num_levels):
    model, chances = image_tokenizer(), prior_chances()
    chosen = RateDistortion(model, chances, 0.3, [1.0, 1.0]).choose(pixels(), num_levels)
    bits, _ = cost(chances, chosen.codes, model, pixels(), num_levels)
    assert float(chosen.bits.sum()) == pytest.approx(bits, rel=1e-5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_best_of_all_cautions(scale):
    """However wrong the scales, pictures never cost more than with the nearest codes."""
    model, chances, weight = image_tokenizer(), prior_chances(), 3000.0
    trade = RateDistortion(model, chances, weight, [scale, scale])
    found = cautious(trade, pixels(), 2, "level")
    assert weight in [found.rate_weight * caution for caution in CAUTIONS] or not found.rate_weight

    def j(tried):
        bits, error = cost(chances, tried.encode(pixels(), 2), model, pixels())
        return error + weight * bits

    tried = [RateDistortion(model, chances, weight / caution, [scale, scale]) for caution in CAUTIONS]
    assert j(found) == min(map(j, tried)) <= j(RateDistortion(model, chances, 0.0, [1.0, 1.0]))


def test_without_a_weight_nothing_is_tried():
    trade = RateDistortion(image_tokenizer(), prior_chances(), 0.0, [1.0, 1.0])
    assert cautious(trade, pixels(2), 2, "level") is trade
