import json
from dataclasses import replace

import pytest

from pictogram.hub.errors import InputError
from pictogram.hub.provenance import PROVENANCE_NAME, Provenance, history, public_settings

MADE = Provenance(
    stage="prior",
    fingerprints={"codes": "ab", "bundle": "cd"},
    data={"name": "codes", "split": "train", "rows": 3, "fingerprint": "ef"},
    settings={"seed": 1, "num_steps": 5},
    versions={"torch": "2"},
    examples=["red apple", "日本"],
    image_tokenizer={"name": "owner/name", "revision": "12", "provenance": None},
)


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
    once = replace(MADE, earlier=history(MADE))
    once.save(tmp_path)
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


def test_paths_of_this_machine_stay_here():
    settings = {"data": "/home/me/photos", "start_from": "", "tokenizer": "~/x/tok", "codes": "owner/name", "seed": 1}
    assert public_settings(settings) == settings | {"data": "photos", "tokenizer": "tok"}
    assert replace(MADE, settings=public_settings(settings)).to_dict()["settings"]["data"] == "photos"
