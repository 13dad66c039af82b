"""`pictogram evaluate samples` on a tiny chain."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
from PIL import Image
from tiny_samples import NAMES, data, noise
from tiny_samples import asked as ask

from pictogram.__main__ import app
from pictogram.hub.command_line import run_app
from pictogram.lm.bundle import Bundle
from pictogram.lm.bundle_figures import bundle_figures
from pictogram.pipelines.evaluate_samples import evaluate_samples
from pictogram.pipelines.sample_shards import write_samples

ARMS = ["real", "decoded", "samples"]


@pytest.fixture
def asked(tmp_path):
    return ask(tmp_path / "out")


def test_every_arm_has_every_figure_and_the_same_again(asked, tmp_path):
    report = evaluate_samples(asked)
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == json.loads(json.dumps(report))
    assert list(report["recognised"]) == ARMS
    assert report["cas"]["real"]["accuracy"]["num_images"] == 24
    assert report["cas"]["share_of_decoded"] is not None
    assert all(report["fd"][arm]["per_class"] >= 0 for arm in ARMS)
    assert report["precision_recall"]["num_images"] == 16
    for space in ("pixels", "features"):
        found = report["memorisation"][space]
        assert found["real test"] == {"percentile_1": 0.0, "median": 0.0}  # train is a copy of test here
        assert found["samples"]["median"] > 0
        decoded = found["decoded test"]["median"]
        assert found["ratio"]["decoded test"]["median"] == found["samples"]["median"] / decoded
    assert report["protocol"]["num_images_of"] == {"real": 16, "decoded": 16, "samples": 16}
    assert len(report["failures"]) == 2
    assert report["seconds"]["num_images"] == 16
    again = evaluate_samples(replace(asked, output=str(tmp_path / "again"), batch_size=3))
    for name in ("cas", "recognised", "fd", "precision_recall", "memorisation"):
        assert again[name] == report[name]
    assert Image.open(tmp_path / "out" / "samples.png").size == Image.open(tmp_path / "again" / "samples.png").size


def test_good_samples_score_well_and_mixed_up_ones_do_not(asked, tmp_path):
    asked = replace(asked, metric="cas", num_steps=40)
    scores = []
    for name, draw in (("good", noise), ("mixed", lambda classes, seeds: noise([1 - c for c in classes], seeds))):
        write_samples(tmp_path / name, draw, NAMES, 16, seed=0, origin={})
        report = evaluate_samples(replace(asked, samples=str(tmp_path / name), output=str(tmp_path / f"{name}-out")))
        scores.append(report["cas"]["samples"]["accuracy"]["value"])
    assert scores[0] > 0.9 and scores[1] < 0.1


def test_copies_are_seen_as_copies(asked, tmp_path):
    asked = replace(asked, samples=str(data() / "train"), metric="memorisation")
    report = evaluate_samples(replace(asked, num_images=8))
    assert report["memorisation"]["pixels"]["samples"] == {"percentile_1": 0.0, "median": 0.0}
    nothing = {"percentile_1": None, "median": None}  # test pictures are the training pictures here
    assert report["memorisation"]["pixels"]["ratio"]["real test"] == nothing
    assert "cas" not in report and "fd" not in report


def test_a_card_finds_what_was_measured(asked, tmp_path):
    folder = shutil.copytree(asked.model, tmp_path / "bundle")
    evaluate_samples(replace(asked, model=str(folder), card=True, metric="cas", num_images=4, num_steps=3))
    figures = bundle_figures(folder, Bundle.from_pretrained(folder))
    assert [figure.metric for figure in figures.index] == ["cas"]


def test_the_command(asked, monkeypatch, capsys):
    arguments = ["--model", asked.model, "--data", asked.data, "--num-images", "8", "--num-steps", "4"]
    monkeypatch.setattr(sys, "argv", ["pictogram", "evaluate", "samples", *arguments, "--out", asked.output])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    assert not exit_.value.code
    printed = " ".join(capsys.readouterr().out.split())
    assert "CAS" in printed and "to the nearest training picture of its class, pixels" in printed
