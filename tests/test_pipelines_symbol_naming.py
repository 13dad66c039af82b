import json
import shutil
from dataclasses import replace

import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image as PILImage
from tiny_chain import bundle_folder, shared_bundle
from tiny_pictures import noise_in_two_classes

from pictogram.hub.errors import InputError
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.pipelines import symbol_naming
from pictogram.pipelines.symbol_naming import (
    KMEANS,
    PIXEL_PROBE,
    POSTERIOR,
    NamingEvaluation,
    draw_labelled,
    evaluate_naming,
    named_by_symbols,
)
from pictogram.tokenizer.batches import derived_generator


@pytest.fixture(scope="module")
def asked(tmp_path_factory) -> NamingEvaluation:
    folder = noise_in_two_classes(tmp_path_factory.mktemp("data"), 24)
    shutil.copytree(folder / "test", folder / "train")
    return NamingEvaluation(str(bundle_folder()), str(folder), labels_per_class=[1, 6], num_draws=2)


def test_what_is_obvious_is_named_at_once(asked, tmp_path):
    report = evaluate_naming(asked, tmp_path)
    assert json.loads((tmp_path / "naming.json").read_text()) == json.loads(json.dumps(report))
    found = {(entry["method"], entry["labels_per_class"]): entry["accuracy"] for entry in report["summary"]}
    assert len(found) == 12
    assert found[KMEANS, 6] == found[PIXEL_PROBE, 6] == found[PIXEL_PROBE, 1] == 1
    assert all(0 <= accuracy <= 1 for accuracy in found.values())
    assert evaluate_naming(asked) == report


def test_the_posterior_is_that_of_the_first_code(asked, monkeypatch):
    seen = []
    original = symbol_naming.score_first_codes

    def spy(*arguments):
        seen.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(symbol_naming, "score_first_codes", spy)
    report = evaluate_naming(replace(asked, labels_per_class=[2], num_draws=1))
    assert len(seen) == 48
    assert all(len(following) == 4 for *_, following in seen)
    (posterior,) = [entry for entry in report["summary"] if entry["method"] == POSTERIOR]
    assert posterior["spread"] is None
    assert seen[0][2] == shared_bundle().vocabulary.size_of([(1, 1), (2, 2)])


def test_names_by_majority_and_by_the_nearest_symbol_that_has_one():
    vectors = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    labelled = torch.eye(4)[[0, 0, 0, 2]]
    found = named_by_symbols(labelled, torch.tensor([1, 1, 0, 2]), torch.eye(4), vectors, 3)
    assert found.tolist() == [1, 1, 2, 2]


def test_soft_symbols_weigh_their_names():
    vectors = torch.tensor([[0.0], [1.0]])
    labelled = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    measured = torch.tensor([[0.7, 0.3], [0.4, 0.6]])
    assert named_by_symbols(labelled, torch.tensor([0, 1]), measured, vectors, 2).tolist() == [0, 1]


def test_thinly_spread_symbols_are_named_all_the_same():
    spread = torch.full((2, 10), 0.1)
    found = named_by_symbols(spread, torch.tensor([1, 1]), spread, torch.arange(10.0)[:, None], 2)
    assert found.tolist() == [1, 1]


def test_as_many_of_each_class_as_asked_for():
    classes = torch.tensor([0, 1, 0, 1, 1, 0, 3, 3])
    rows = draw_labelled(classes, 2, derived_generator(0))
    assert classes[rows].tolist() == [0, 0, 1, 1, 3, 3] and len(rows.unique()) == 6
    with pytest.raises(InputError, match="3 labelled pictures a class are asked for, but class 3 has 2"):
        draw_labelled(classes, 3, derived_generator(0))


def test_what_cannot_be_named_is_said_before_any_work(asked, monkeypatch, tmp_path):
    monkeypatch.setattr(symbol_naming, "_ways", None)
    with pytest.raises(InputError, match=r"25 labelled pictures a class are asked for, but class \w+ has 12; ask for"):
        evaluate_naming(replace(asked, labels_per_class=[1, 25]))
    with pytest.raises(InputError, match="must differ, got split test for both"):
        evaluate_naming(replace(asked, reference_split="test"))
    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"])})
    columns = {"image": [PILImage.new("RGB", (16, 16))] * 3, "label": [0] * 3}
    for split in ("train", "test"):
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}.parquet")
    with pytest.raises(InputError, match="pictures of two classes at least are needed to learn from, got 1"):
        evaluate_naming(replace(asked, data=str(tmp_path), labels_per_class=[1]))


def test_codes_of_the_next_level_must_stand_together(asked, monkeypatch):
    bundle = shared_bundle()
    vocabulary = JointVocabulary.from_scratch(257, (4, 8, 8), [[(1, 1), (2, 2), (4, 4)]], order="pyramid")
    monkeypatch.setattr(symbol_naming.Bundle, "from_pretrained", lambda _: replace(bundle, vocabulary=vocabulary))
    with pytest.raises(InputError, match="has its codes in the order 'pyramid'"):
        evaluate_naming(asked)


def test_missing_packages_and_wrong_numbers(asked, monkeypatch):
    with pytest.raises(InputError, match=r"labels_per_class must be at least 1, got \[0\]"):
        replace(asked, labels_per_class=[0])
    monkeypatch.setattr(symbol_naming.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"need scikit-learn: pip install scikit-learn"):
        evaluate_naming(asked)
