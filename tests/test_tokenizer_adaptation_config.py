"""What an adaptation can be told."""

import pytest

from pictogram.hub.errors import InputError
from pictogram.tokenizer.adaptation_config import LEARNING_RATES, MODES, AdaptationConfig, AdaptationSettings


def test_new_codes_are_counts_or_a_share():
    sizes = [64, 256, 256]
    assert AdaptationSettings(new_codes="16, 0,64").new_counts(sizes) == [16, 0, 64]
    assert AdaptationSettings(new_codes="0.25").new_counts(sizes) == [16, 64, 64]


@pytest.mark.parametrize("text", ["1,2", "1,2,2.5", "-1", "1,2,-3", ""])
def test_other_numbers_of_new_codes_are_refused(text):
    with pytest.raises(InputError, match="new_codes must be one share, or a whole number for each of 3 levels"):
        AdaptationSettings(new_codes=text).new_counts([64, 256, 256])


def test_each_mode_has_a_learning_rate_of_its_own():
    assert {mode: AdaptationSettings(mode=mode).peak_learning_rate for mode in MODES} == LEARNING_RATES
    assert AdaptationSettings(learning_rate=0.3).peak_learning_rate == 0.3


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mode": "all"}, "mode must be one of grow, symbols, full, lora, got 'all'"),
        ({"quantile": 1.5}, "quantile must be at most 1"),
        ({"own_share": -0.1}, "own_share must be at least 0"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"lora_rank": 2, "lora_budget": 3}, "give lora_rank or lora_budget, got 2 and 3"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        AdaptationSettings(**options)


def test_old_pictures_must_be_named():
    with pytest.raises(InputError, match="reference must name the old pictures"):
        AdaptationConfig()
    assert AdaptationConfig(reference="old").output == "adapted-tokenizer"
