"""How bits come to count in a training."""

from typing import Any

import pytest
import torch
from tiny_model import ema_codebooks, make, pictures

from pictogram.tokenizer.distortion_scales import distortion_scales
from pictogram.tokenizer.rate_warmup import weigh_rate
from pictogram.tokenizer.training_config import TokenizerTrainingConfig


def weighed(step: int, model: Any = None, **settings: Any) -> Any:
    model = model or make(rate_weight=1.0)
    config = TokenizerTrainingConfig(num_steps=100, rate_warmup=0.5, **settings)
    weigh_rate(model, step, config, lambda: pictures(20))
    return model


def test_the_weight_grows_and_then_stays():
    warmth = [weighed(step).rate_model.warmth for step in (0, 24, 49, 50, 99)]
    assert warmth == [1 / 2500, 0.25, 1.0, 1.0, 1.0]


def test_codes_are_revived_while_it_grows():
    assert {book.revival_threshold for book in ema_codebooks(weighed(49))} == {0.05}
    assert {book.revival_threshold for book in ema_codebooks(weighed(51))} == {0.0}


def test_errors_are_weighed_now_and_then():
    model = weighed(0)
    first = distortion_scales(model, pictures(20), 3, seed=0)
    assert model.rate_model.scales.tolist() == pytest.approx([3 * scale for scale in first])
    weighed(1, model)
    assert model.rate_model.scales.tolist() == pytest.approx([3 * scale for scale in first])
    weighed(50, model)
    then = distortion_scales(model, pictures(20), 3, seed=50)
    expected = [3 * (old + 0.2 * (new - old)) for old, new in zip(first, then, strict=True)]
    assert model.rate_model.scales.tolist() == pytest.approx(expected)


def test_a_frozen_encoder_chooses_as_it_did():
    model: Any = make(rate_weight=1.0)
    model.rate_model.scales.fill_(7.0)
    weighed(0, model, start_from="there", freeze="encoder,codebook")
    assert model.rate_model.warmth == 1.0
    assert model.rate_model.scales.tolist() == [7.0, 7.0, 7.0]


def test_where_bits_do_not_count_nothing_happens():
    model = make()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weighed(60, model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert {book.revival_threshold for book in ema_codebooks(model)} == {0.05}
