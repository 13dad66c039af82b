"""Pictures drawn under a symbol beside real ones."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from tiny_chain import bundle_folder, processor
from tiny_pictures import noise_in_two_classes

from pictogram.__main__ import app
from pictogram.hub.command_line import run_app
from pictogram.hub.errors import InputError
from pictogram.pipelines.labelled_pictures import labelled_pictures
from pictogram.pipelines.symbol_samples import (
    KINDS,
    SymbolSamplesConfig,
    evaluate_symbol_samples,
    trained_classifier,
)


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> SymbolSamplesConfig:
    folder = noise_in_two_classes(tmp_path_factory.mktemp("data"), 24)
    shutil.copytree(folder / "test", folder / "train")
    return SymbolSamplesConfig(model=str(bundle_folder()), data=str(folder), images_per_symbol=2)


def test_every_symbol_with_enough_pictures_is_compared(asked, tmp_path):
    report = evaluate_symbol_samples(replace(asked, output=str(tmp_path)))
    assert json.loads((tmp_path / "samples.json").read_text()) == json.loads(json.dumps(report))
    assert report["symbols"]
    assert report["protocol"]["sampling"]["top_p"] == 1.0
    for row in report["symbols"]:
        assert all(row[kind]["share"] in (0.5, 1.0) for kind in KINDS)
    assert all(0.5 <= report["consistency"][kind] <= 1 for kind in KINDS)
    assert evaluate_symbol_samples(asked)["symbols"] == report["symbols"]


def test_the_classifier_knows_what_it_learned(asked):
    pictures = labelled_pictures(asked.data, "train", processor())
    classify = trained_classifier(pictures)
    found = classify(pictures.dataset.pixels(range(len(pictures.dataset))))
    assert float((found == pictures.classes).float().mean()) > 0.8
    assert classify(torch.zeros(2, 3, 16, 16)).dtype == torch.int64


def test_symbols_with_too_few_pictures_are_said_so(asked):
    with pytest.raises(InputError, match="no symbol has 1000 pictures in split test"):
        evaluate_symbol_samples(replace(asked, images_per_symbol=1000))


def test_the_command(asked, monkeypatch, capsys):
    arguments = ["--model", asked.model, "--data", asked.data, "--images-per-symbol", "2"]
    monkeypatch.setattr(sys, "argv", ["pictogram", "symbols", "samples", *arguments])
    with pytest.raises(SystemExit) as exit_:
        run_app(app)
    assert not exit_.value.code
    assert "consistency of drawn pictures" in capsys.readouterr().out
