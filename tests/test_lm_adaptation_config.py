"""The settings of an adaptation."""

import pytest

from pictogram.hub.errors import InputError
from pictogram.lm.adaptation_config import PriorAdaptationConfig


def test_as_a_training():
    training = PriorAdaptationConfig(from_bundle="old", codes="new", num_steps=7, weight_decay=0.2).training()
    assert (training.from_bundle, training.codes, training.num_steps) == ("old", "new", 7)
    assert (training.optimizer, training.weight_decay) == ("adamw", 0.2)


def test_where_things_lie_is_no_setting():
    first, second = PriorAdaptationConfig(), PriorAdaptationConfig(output="elsewhere", codes="moved", log_every=3)
    assert first.settings() == second.settings() != PriorAdaptationConfig(reference_codes="old").settings()
    assert first.settings() != PriorAdaptationConfig(moved_rows="invoked").settings()


def test_old_files_need_all_old_weights():
    assert PriorAdaptationConfig().keeps_ancestor
    assert not PriorAdaptationConfig(moved_rows="invoked").keeps_ancestor
    assert not PriorAdaptationConfig(lora_rank=4).keeps_ancestor


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"moved_rows": "all"}, "moved_rows must be one of new, invoked"),
        ({"reference_share": 1.0}, "reference_share must be at most 0.99"),
        ({"reference_split": "test"}, "reference_split is of old codes; give them with --reference-codes"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        PriorAdaptationConfig(**options)
