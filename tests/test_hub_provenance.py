import dataclasses
import json
from dataclasses import replace
from typing import Any

import pytest

from pictogram.hub.errors import InputError
from pictogram.hub.provenance import PROVENANCE_NAME, Provenance, history, public_settings, tokenizer_provenance_of
from pictogram.lm.adaptation_config import PriorAdaptationConfig
from pictogram.lm.train_joint import JointTrainingConfig
from pictogram.lm.training_config import PriorTrainingConfig
from pictogram.tokenizer.adaptation_config import AdaptationConfig
from pictogram.tokenizer.train_patches import PatchesTrainingConfig
from pictogram.tokenizer.training_config import TokenizerTrainingConfig

MADE = Provenance(
    stage="prior",
    fingerprints={"codes": "ab", "bundle": "cd"},
    data={"name": "codes", "split": "train", "rows": 3, "fingerprint": "ef"},
    settings={"seed": 1, "num_steps": 5},
    versions={"torch": "2"},
    examples=["red apple", "日本"],
    image_tokenizer={"name": "owner/name", "revision": "12", "provenance": None},
)

TRAINING = history(MADE)[0]
ENTRY = {"name": "owner/name", "revision": None, "provenance": None}


def test_it_comes_back(tmp_path):
    assert Provenance.load(tmp_path) is None
    MADE.save(tmp_path)
    assert Provenance.load(tmp_path) == MADE


def test_trainings_that_one_goes_on_from():
    once = replace(MADE, settings={"num_steps": 7}, earlier=history(MADE))
    assert [each["settings"] for each in history(once)] == [MADE.settings, {"num_steps": 7}]
    assert {*history(once)[0]} == {"stage", "fingerprints", "data", "settings", "versions"}
    assert history(None) == []


def test_it_comes_back_with_all_trainings(tmp_path):
    tokenizer = replace(MADE, stage="tokenizer", image_tokenizer=None, earlier=history(MADE))
    once = replace(MADE, earlier=history(MADE), image_tokenizer=ENTRY | {"provenance": tokenizer.to_dict()})
    once.save(tmp_path)
    assert tokenizer_provenance_of(once, "here") == tokenizer
    assert tokenizer_provenance_of(MADE, "here") is None is tokenizer_provenance_of(tokenizer, "here")
    assert Provenance.load(tmp_path) == once


def test_files_of_the_format_before(tmp_path):
    MADE.save(tmp_path)
    path = tmp_path / PROVENANCE_NAME
    content = json.loads(path.read_text()) | {"format_version": 1}
    del content["earlier"]
    path.write_text(json.dumps(content))
    assert Provenance.load(tmp_path) == MADE


def test_another_model_s():
    MADE.check("here", {"codes": "ab"})
    with pytest.raises(InputError, match=r"here/provenance.json is another model's: its fingerprint of codes differs"):
        MADE.check("here", {"codes": "cd"})
    with pytest.raises(InputError, match="fingerprint of decoder differs"):
        MADE.check("here", {"decoder": "ab"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "has format 99"),
        ({"format_version": None}, "has format None"),
        ({"surprise": 1}, "does not say how a model came to be"),
        ({"data": None}, "data must be an object"),
        ({"earlier": [TRAINING | {"data": None}]}, "earlier must list objects with stage, fingerprints, data"),
        ({"earlier": [TRAINING | {"settings": []}]}, "earlier must list objects with stage, fingerprints, data"),
        ({"image_tokenizer": {"name": "tok"}}, "image_tokenizer must have name, revision and provenance"),
        ({"image_tokenizer": ["tok"]}, "image_tokenizer must have name, revision and provenance"),
        (
            {"image_tokenizer": ENTRY | {"provenance": {"stage": "tokenizer"}}},
            "image_tokenizer, does not say how a model",
        ),
        ({"image_tokenizer": ENTRY | {"provenance": 7}}, "image_tokenizer, does not say how a model"),
        ({"earlier": {"stage": "prior"}}, "earlier must list objects with stage, fingerprints, data"),
        ({"earlier": [{"stage": "prior"}]}, "earlier must list objects with stage, fingerprints, data"),
        ({"earlier": [7]}, "earlier must list objects with stage, fingerprints, data"),
    ],
)
def test_files_that_cannot_be_read(tmp_path, change, message):
    MADE.save(tmp_path)
    path = tmp_path / PROVENANCE_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        Provenance.load(tmp_path)


SPLITS = {"split", "eval_split", "reference_split", "reference_eval_split", "measured_split"}
NEVER_A_PATH = SPLITS | {"new_codes", "strides", "codebook_sizes", "prefix_weights"}
"""Texts that are checked when the data or the model is open."""


@pytest.mark.parametrize(
    "config",
    [
        TokenizerTrainingConfig,
        AdaptationConfig,
        PatchesTrainingConfig,
        PriorTrainingConfig,
        PriorAdaptationConfig,
        JointTrainingConfig,
    ],
)
def test_no_setting_tells_a_path_of_this_machine(config: Any):
    names = {field.name for field in dataclasses.fields(config)}
    needed = {"reference": "photos"} if "reference" in names else {}
    texts = {name for name, value in dataclasses.asdict(config(**needed)).items() if isinstance(value, str)}
    told = 0
    for name in sorted(texts - NEVER_A_PATH):
        try:
            given = config(**(needed | {name: "/secret/x"}))
        except InputError:
            continue  # one of a list, or numbers
        told += 1
        assert "secret" not in json.dumps(public_settings(given.settings())), name
    assert told >= 2


def test_paths_of_this_machine_stay_here():
    settings = {"data": "/home/me/photos", "start_from": "", "tokenizer": "~/x/tok", "codes": "owner/name", "seed": 1}
    assert public_settings(settings) == settings | {"data": "photos", "tokenizer": "tok"}
    assert replace(MADE, settings=public_settings(settings)).to_dict()["settings"]["data"] == "photos"
