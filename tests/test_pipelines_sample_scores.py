"""Scores that are kept."""

from dataclasses import replace

import pytest
from tiny_samples import asked as ask

from pictogram.hub.errors import InputError
from pictogram.lm.estimates import share
from pictogram.pipelines import sample_scores
from pictogram.pipelines.evaluate_samples import evaluate_samples
from pictogram.pipelines.sample_scores import mean_score


@pytest.fixture
def asked(tmp_path):
    return ask(tmp_path / "out")


def test_scores_that_are_kept_are_not_paid_for_again(asked, tmp_path, monkeypatch):
    kept = str(tmp_path / "kept")
    first = evaluate_samples(replace(asked, kept=kept))
    monkeypatch.setattr(sample_scores, "train_classifier", None)
    assert evaluate_samples(replace(asked, kept=kept)) == first
    with pytest.raises(TypeError):
        evaluate_samples(replace(asked, kept=kept, num_steps=13))
    (weights,) = (tmp_path / "kept").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged; remove it"):
        evaluate_samples(replace(asked, kept=kept))


def test_several_classifiers_count_their_seeds_up(asked):
    one, three = (evaluate_samples(replace(asked, num_classifiers=count, metric="cas"))["cas"] for count in (1, 3))
    for arm in ("real", "samples"):
        assert one[arm]["classifiers"] == [one[arm]["accuracy"]["value"]]
        assert len(three[arm]["classifiers"]) == 3 and three[arm]["classifiers"][:1] == one[arm]["classifiers"]
        assert three[arm]["accuracy"]["value"] == pytest.approx(sum(three[arm]["classifiers"]) / 3)


def score(accuracy: float, per_class: list[float | None]) -> dict:
    return {"accuracy": share(round(accuracy * 100), 100).to_dict(), "per_class": per_class, "num_images": 7}


def test_mean_scores():
    mean = mean_score([score(0.8, [0.7, None]), score(0.85, [0.8, None])])
    assert mean["accuracy"]["value"] == pytest.approx(0.825) and mean["accuracy"]["num_images"] == 100
    low, high = mean["accuracy"]["interval"]
    assert low < 0.825 < high and high - low == pytest.approx(0.15, abs=0.01)
    assert mean["per_class"] == [pytest.approx(0.75), None]
    assert mean["classifiers"] == [0.8, 0.85] and mean["num_images"] == 7
