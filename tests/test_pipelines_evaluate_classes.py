import json
import math
import shutil

import pytest
import torch
from tiny_chain import CAPTIONS, bundle_folder, codes_folder, pictures, shared_bundle, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.lm.caption_classifier import CaptionPosteriors, classify_captions
from pictogram.pipelines import evaluate_classes as module
from pictogram.pipelines.evaluate_classes import evaluate_classes
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.codes_dataset import load_codes

WORDS = sorted(set(CAPTIONS) - {""})
FOLDERS = {"pear": range(4), "apple": range(4, 9), "plum": range(9, 12)}


@pytest.fixture(scope="module")
def class_codes(tmp_path_factory) -> str:
    """Twelve pictures in folders by class: a column of class labels."""
    root = tmp_path_factory.mktemp("classes")
    for name, numbers in FOLDERS.items():
        (root / "pictures" / name).mkdir(parents=True)
        for number in numbers:
            shutil.copy(pictures() / f"{number:02d}.png", root / "pictures" / name)
    tokenize(TokenizeConfig(data=str(root / "pictures"), model=str(tokenizer_folder()), output=str(root / "codes")))
    return str(root / "codes")


def test_captions_as_classes():
    found = evaluate_classes(str(bundle_folder()), str(codes_folder()), "train")
    codes = load_codes(codes_folder())
    rows = [row for row in range(16) if codes.captions(row)[0]]
    posteriors = classify_captions(shared_bundle(), codes.codes(rows), WORDS)
    truth = torch.tensor([WORDS.index(codes.captions(row)[0]) for row in rows])
    assert (found["num_images"], found["classes"]) == (14, WORDS)
    hits = int((posteriors.predicted == truth).sum())
    assert found["accuracy"]["value"] == pytest.approx(hits / 14)
    low, high = found["accuracy"]["interval"]
    assert 0 <= low <= hits / 14 <= high <= 1
    spent = -posteriors.log2_posterior[range(14), truth].mean()
    assert found["cross_entropy"]["value"] == pytest.approx(float(spent), rel=1e-4)
    assert found["class_entropy"] == pytest.approx(math.log2(7))  # each of seven twice
    confusion = torch.tensor(found["confusion"])
    assert int(confusion.sum()) == 14 and int(confusion.trace()) == hits
    assert confusion.sum(1).tolist() == [2] * 7
    assert confusion.sum(0).tolist() == torch.bincount(posteriors.predicted, minlength=7).tolist()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_class_labels_by_their_names(class_codes):
    found = evaluate_classes(str(bundle_folder()), class_codes, "train", column="label")
    assert found["classes"] == ["apple", "pear", "plum"]
    assert [sum(row) for row in found["confusion"]] == [5, 4, 3]
    assert evaluate_classes(str(bundle_folder()), class_codes, "train") == {
        **found,
        "protocol": found["protocol"] | {"column": "caption"},
    }


@pytest.mark.parametrize(("method", "prior"), [("codes", "model"), ("caption", "uniform")])
def test_methods_and_priors_are_passed_on(class_codes, method: str, prior: str):
    found = evaluate_classes(str(bundle_folder()), class_codes, "train", method=method, prior=prior)
    codes = load_codes(class_codes)
    some = classify_captions(
        shared_bundle(), codes.codes(range(12)), ["apple", "pear", "plum"], method=method, prior=prior
    )
    confusion = torch.zeros(3, 3, dtype=torch.int64)
    for row, predicted in enumerate(some.predicted.tolist()):
        confusion[["apple", "pear", "plum"].index(codes.captions(row)[0]), predicted] += 1
    assert found["confusion"] == confusion.tolist()


def test_neither_windows_nor_batches_matter(class_codes, monkeypatch, tmp_path):
    whole = evaluate_classes(str(bundle_folder()), class_codes, "train")
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 5)
    parts = evaluate_classes(
        str(bundle_folder()), class_codes, "train", batch_size=2, output=str(tmp_path / "classes.json")
    )
    assert parts["confusion"] == whole["confusion"]
    assert parts["cross_entropy"]["value"] == pytest.approx(whole["cross_entropy"]["value"], abs=1e-4)
    assert json.loads((tmp_path / "classes.json").read_text()) == parts
    some = evaluate_classes(str(bundle_folder()), class_codes, "train", max_images=4)
    assert (some["num_images"], some["classes"]) == (4, whole["classes"])  # classes without a picture stay


def test_a_classifier_that_is_always_sure(class_codes, monkeypatch):
    def sure(bundle, codes, captions, **options) -> CaptionPosteriors:
        bits = torch.tensor([[0.0, 10000.0, 10000.0]]).double().repeat(len(codes[0]), 1)
        return CaptionPosteriors(list(captions), "codes", bits, torch.zeros(3).double())

    monkeypatch.setattr(module, "classify_captions", sure)
    found = evaluate_classes(str(bundle_folder()), class_codes, "train")
    assert found["accuracy"]["value"] == pytest.approx(5 / 12)
    assert found["confusion"] == [[5, 0, 0], [4, 0, 0], [3, 0, 0]]
    assert found["cross_entropy"]["value"] == pytest.approx(10000 * 7 / 12)
    assert found["class_entropy"] == pytest.approx(-sum(p * math.log2(p) for p in (5 / 12, 4 / 12, 3 / 12)))


def test_mistakes(class_codes, monkeypatch):
    def refusal(codes: str, **options) -> str:
        with pytest.raises(InputError) as caught:
            evaluate_classes(str(bundle_folder()), codes, "train", **options)
        return str(caught.value)

    assert "the codes have no column 'kind'; there are key, view," in refusal(class_codes, column="kind")
    assert "column 'height' must hold texts or class labels with names, got 16" in refusal(class_codes, column="height")
    assert "method must be one of" in refusal(class_codes, method="words")
    assert "has its prior inside" in refusal(class_codes, method="caption", prior="model")
    assert "batch_size must be at least 1" in refusal(class_codes, batch_size=0)
    monkeypatch.setattr(module, "_MOST_CLASSES", 6)
    assert "column 'caption' holds 7 classes, expected 1 to 6" in refusal(str(codes_folder()))
