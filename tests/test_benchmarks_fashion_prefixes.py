"""`benchmarks/fashion_prefixes.py`: pictures whose first codes are real."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from tiny_chain import bundle_folder, shared_bundle
from tiny_samples import NAMES, data

from pictogram.lm.image_sampler import ImageSampling
from pictogram.pipelines.labelled_pictures import labelled_pictures
from pictogram.pipelines.sample_arms import decoded_arm, one_box

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_given_codes_are_kept_and_all_of_them_are_decoded_pictures():
    script, bundle = importlib.import_module("fashion_prefixes"), shared_bundle()
    pictures = labelled_pictures(str(data()), "train", bundle.image_processor)
    rows, box = [0, 3, 5, 8], one_box(pictures.dataset)
    ids, prompts = script.training_ids(bundle, pictures, rows), [NAMES[int(pictures.classes[row])] for row in rows]
    count, sampling = ids.shape[1], ImageSampling()
    expected = decoded_arm(pictures, rows, bundle.image_tokenizer, box, "decode")
    assert torch.equal(script.drawn_arm(bundle, prompts, ids, count, 0, sampling, box), expected.pixels)
    some, none = (script.drawn_arm(bundle, prompts, ids, given, 0, sampling, box) for given in (count - 1, 0))
    assert not torch.equal(some, none)
    assert torch.equal(script.drawn_arm(bundle, prompts, ids, 0, 0, sampling, box), none)


def test_a_whole_run(tmp_path, capsys):
    words = ["--model", str(bundle_folder()), "--data", str(data()), "--split", "test", "--num-images", "16"]
    words += ["--num-steps", "3", "--given", "0,2", "--num-classifiers", "2", "--kept", str(tmp_path / "kept")]
    words += ["--json", str(tmp_path / "report.json")]
    importlib.import_module("fashion_prefixes").main(words)
    report = json.loads((tmp_path / "report.json").read_text())
    assert [arm["given"] for arm in report["arms"]] == [0, 2] and report["classes"] == NAMES
    assert all(len(arm["classifiers"]) == 2 and arm["accuracy"]["num_images"] == 24 for arm in report["arms"])


@pytest.mark.parametrize("given", ["0,1000", "-1", ""])
def test_numbers_of_codes_that_no_picture_has(given, capsys):
    words = ["--model", str(bundle_folder()), "--data", str(data()), "--split", "test", f"--given={given}"]
    with pytest.raises(SystemExit):
        importlib.import_module("fashion_prefixes").main(words)
    assert "given must be numbers of codes, 0 to the" in capsys.readouterr().err
