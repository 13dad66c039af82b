import json

import pytest

from pictogram.hub.errors import InputError
from pictogram.hub.evaluations import read_evaluations, write_evaluation


def test_what_is_kept_comes_back(tmp_path):
    write_evaluation(tmp_path, "prior", "ab", {"bits": 1.5})
    path = write_evaluation(tmp_path, "names", "ab", {"share": 0.5})
    write_evaluation(tmp_path, "prior", "ab", {"bits": 2.5})
    assert read_evaluations(tmp_path, "ab") == {"prior": {"bits": 2.5}, "names": {"share": 0.5}}
    assert json.loads(path.read_text())["fingerprint"] == "ab"
    assert read_evaluations(tmp_path / "elsewhere", "ab") == {}


def test_another_model_s(tmp_path):
    write_evaluation(tmp_path, "prior", "ab", {})
    with pytest.raises(InputError, match=r"prior\.json was measured on another model"):
        read_evaluations(tmp_path, "cd")


@pytest.mark.parametrize("content", ["[]", "{}", '{"fingerprint": "ab"}', '{"fingerprint": 1, "result": {}}', "{"])
def test_damaged_files(tmp_path, content):
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "names.json").write_text(content)
    with pytest.raises(InputError, match=r"names\.json"):
        read_evaluations(tmp_path, "ab")


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="is not a folder that could keep"):
        write_evaluation(tmp_path / "nowhere", "prior", "ab", {})
