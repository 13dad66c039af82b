"""`benchmarks/compositions.py`: its distances and shares, and a whole run on coloured squares."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from tiny_bundles import DEEP, bundle_around
from tiny_pictures import picture

from pictogram import InputError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
STYLES = ["flat", "noisy"]


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def module(name):
    return importlib.import_module(name)


def write_split(folder: Path, split: str, count: int, first: int = 0) -> None:
    """Pictures whose names come back in both styles."""
    features = Features(
        image=Image(), caption=Value("string"), name=Value("string"), style=ClassLabel(names=STYLES),
        category=Value("string"),
    )  # fmt: skip
    names = [f"thing {(first + row) // 2}" for row in range(count)]
    columns = {
        "image": [picture(first + row, (16, 16)) for row in range(count)],
        "caption": [f"{name}, {STYLES[row % 2]} style" for row, name in enumerate(names)],
        "name": names,
        "style": [row % 2 for row in range(count)],
        "category": ["things"] * count,
    }
    Dataset.from_dict(columns, features).to_parquet(folder / f"{split}.parquet")


def test_distances_are_to_the_nearest_training_picture_of_the_same_name():
    train = torch.tensor([[0.0], [2.0], [5.0]])
    found = module("compositions").nearness(
        [train, torch.tensor([[3.0], [7.0]]), torch.tensor([[3.5], [7.0]]), torch.tensor([[1.0], [7.0]])],
        ["apple", "apple", "pear"],
        ["apple", "plum"],
    )
    assert found.copied[0] == 1.0  # of 2, not of 0, nor of the pear
    assert found.any_copy[0] == 5.0
    assert found.copied[1].isnan()
    assert found.drawn.tolist() == [0.25, 0.0]
    assert found.reconstructed.tolist() == [4.0, 0.0]
    assert found.report()["drawn_nearer_than_best_copy"] == 1.0  # without a copy to compare with it does not count
    assert found.report()["reconstructed_nearer_than_best_copy"] == 0.0


def test_the_classifier_learns_what_it_is_shown():
    labelled = module("emoji_classifier").Labelled
    pixels = torch.cat([torch.full((8, 3, 16, 16), -0.9), torch.full((8, 3, 16, 16), 0.9)])
    words = ["dark"] * 8 + ["light"] * 8
    classifier = module("emoji_classifier").train_classifier(labelled(pixels, words, words, words), seed=0, epochs=60)
    features = classifier.features(pixels)
    assert features.shape == (16, 256)
    assert classifier.accuracy(features, "style", words) == 1.0
    assert classifier.accuracy(features, "style", words[::-1]) == 0.0


def test_a_classifier_of_other_pictures_is_refused(tmp_path):
    labelled, kept = module("emoji_classifier").Labelled, module("emoji_classifier").kept_classifier
    pictures = [labelled(torch.zeros(2, 3, side, side), ["a", "b"], ["c"] * 2, ["d"] * 2) for side in (16, 32)]
    kept(tmp_path / "kept.safetensors", pictures[0], seed=0, epochs=1)
    kept(tmp_path / "kept.safetensors", pictures[0], seed=0, epochs=1)
    with pytest.raises(InputError, match="was trained on other pictures"):
        kept(tmp_path / "kept.safetensors", pictures[1], seed=0, epochs=1)
    with pytest.raises(InputError, match="or otherwise"):
        kept(tmp_path / "kept.safetensors", pictures[0], seed=1, epochs=1)


def test_the_script(tmp_path, monkeypatch):
    bundle_around(DEEP).save_pretrained(tmp_path / "bundle")
    data = tmp_path / "data"
    data.mkdir()
    write_split(data, "train", 12)
    write_split(data, "test_composition", 6)
    write_split(data, "test_unseen", 4, first=100)
    monkeypatch.setattr(sys, "argv", [
        "compositions.py", "--model", str(tmp_path / "bundle"), "--data", str(data), "--out", str(tmp_path / "out"),
        "--classifier", str(tmp_path / "classifier.safetensors"), "--epochs", "1", "--temperature", "1", "0.9", "0.8",
        "--json", str(tmp_path / "report.json"),
    ])  # fmt: skip
    module("compositions").main()
    report = json.loads((tmp_path / "report.json").read_text())
    written = (tmp_path / "classifier.safetensors").read_bytes()
    module("compositions").main()  # with the classifier that is there
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "classifier.safetensors").read_bytes() == written
    known, unknown = report["test_composition"], report["test_unseen"]
    assert (known["pictures"], unknown["pictures"]) == (6, 4)
    assert 0 <= known["pixels"]["drawn_nearer_than_best_copy"] <= 1
    assert known["pixels"]["median_distance_copied"] == 0.0  # these held-out pictures are training pictures
    assert "pixels" not in unknown
    assert set(known["style_accuracy"]) == {"real", "reconstructed", "drawn", "relative"}
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        f"{split}-{kind}.png" for split in ("test_composition", "test_unseen") for kind in (*STYLES, "things", "worst")
    }


def test_mistakes(tmp_path, monkeypatch):
    bundle_around(DEEP).save_pretrained(tmp_path / "bundle")
    (tmp_path / "data").mkdir()
    Dataset.from_dict({"image": [picture(0)]}, Features(image=Image())).to_parquet(tmp_path / "data" / "train.parquet")
    arguments = ["--model", str(tmp_path / "bundle"), "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    arguments += ["--classifier", str(tmp_path / "classifier.safetensors")]
    monkeypatch.setattr(sys, "argv", ["compositions.py", *arguments])
    with pytest.raises(SystemExit, match="no column 'name'"):
        module("compositions").main()
