import json
from typing import Any

import pytest
from tiny_pictures import smooth_folder

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.pipelines import evaluate_codec
from pictogram.pipelines import sweep_rates as module
from pictogram.pipelines.sweep_rates import RateSweepConfig, sweep_rates, train_rates
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.presets import PRESETS


@pytest.fixture(autouse=True)
def tiny_preset(monkeypatch):
    settings = {
        "image_size": 8,
        "num_channels": 1,
        "strides": "image,4",
        "codebook_sizes": "4,8",
        "hidden_size": 8,
    }
    monkeypatch.setitem(PRESETS, "tiny", settings | {"num_blocks": 1, "codebook_dim": 4, "batch_size": 8})


def config(tmp_path, **options) -> RateSweepConfig:
    if not (tmp_path / "data").exists():
        smooth_folder(tmp_path / "data")
    given: dict[str, Any] = {
        "rate_weights": "0,50",
        "tokenizer_steps": 3,
        "prior_size": "pico",
        "prior_steps": 2,
        "max_images": 4,
    }
    return RateSweepConfig(
        data=str(tmp_path / "data"), output=str(tmp_path / "rates"), preset="tiny", **(given | options)
    )


def test_a_tokenizer_and_a_prior_for_each_weight(tmp_path):
    folders = train_rates(config(tmp_path))
    assert folders == [str(tmp_path / "rates" / name / "bundle") for name in ("rate-0", "rate-50")]
    weights = []
    for folder in folders:
        tokenizer = Bundle.from_pretrained(folder).image_tokenizer
        assert isinstance(tokenizer, ImageTokenizer)
        weights.append(tokenizer.config.rate_weight)
    assert weights == [0, 50]


def test_it_goes_on_and_takes_further_weights(tmp_path):
    train_rates(config(tmp_path, rate_weights="50"))
    stages = json.loads((tmp_path / "rates" / "stages.json").read_text())
    before = (tmp_path / "rates" / "rate-50" / "bundle" / "model.safetensors").stat().st_mtime_ns
    train_rates(config(tmp_path, rate_weights="50,100"))
    again = json.loads((tmp_path / "rates" / "stages.json").read_text())
    assert again.items() >= stages.items() and "prior 100" in again
    assert (tmp_path / "rates" / "rate-50" / "bundle" / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(InputError, match=r"holds a sweep with settings .* give another --output"):
        train_rates(config(tmp_path, seed=1))


def test_what_is_missing_is_known_before_the_trainings(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "train_tokenizer", lambda *_: pytest.fail("nothing may be trained"))
    for options in ({"test_split": "nowhere"}, {"split": "nowhere"}, {"test_split": "train"}):
        with pytest.raises(InputError):
            sweep_rates(config(tmp_path, **options))
    assert not (tmp_path / "rates").exists()


def test_the_curve(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_codec, "formats", lambda channels: [])
    monkeypatch.setattr(evaluate_codec, "baselines", lambda *_: iter(()))
    report = sweep_rates(config(tmp_path))
    assert report["output"] == str(tmp_path / "rates")
    assert (tmp_path / "rates" / "curves" / "curves.png").is_file()
    assert [[*row] for row in report["costs"].values()] == [["50"], ["50"]]
    assert {point["model"] for point in report["points"]} == {*report["costs"]}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate_weights": ""}, "rate_weights must be different numbers, 0 or more, got ''"),
        ({"rate_weights": "5,5"}, "must be different numbers"),
        ({"rate_weights": "-1"}, "must be different numbers, 0 or more"),
        ({"rate_weights": "a"}, "rate_weights must be numbers, got 'a'"),
        ({"preset": "none"}, "preset must be one of"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        RateSweepConfig(**options)
