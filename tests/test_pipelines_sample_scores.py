"""Scores that are kept."""

from dataclasses import replace

import pytest
from tiny_samples import asked as ask

from pictogram.hub.errors import InputError
from pictogram.pipelines import sample_scores
from pictogram.pipelines.evaluate_samples import evaluate_samples


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
