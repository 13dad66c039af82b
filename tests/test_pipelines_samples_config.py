"""The settings of `pictogram evaluate samples`."""

import pytest

from pictogram.hub.errors import InputError
from pictogram.pipelines.samples_config import METRICS, SamplesEvaluation


def test_everything_is_measured_unless_told():
    assert SamplesEvaluation().metrics == list(METRICS)
    assert SamplesEvaluation(metric="cas, fd").metrics == ["cas", "fd"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric": "fid"}, "metric must be some of cas, fd"),
        ({"metric": ""}, "metric must be some of"),
        ({"num_images": 1}, "num_images must be at least 2"),
        ({"card": True, "samples": "drawn"}, "card is for what the bundle draws itself"),
        ({"num_steps": 0}, "num_steps must be at least 1"),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises(InputError, match=message):
        SamplesEvaluation(**changes)
