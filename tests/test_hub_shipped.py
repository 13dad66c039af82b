import os

import pytest

from pictogram.hub.shipped import SHIPPED_MODELS, local_folder, shipped_folder


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_a_shipped_model_lies_in_the_package(name):
    folder = shipped_folder(name)
    assert folder is not None and folder == local_folder(name) and folder.name == name


def test_a_folder_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noto").mkdir()
    assert shipped_folder("noto") is None
    assert local_folder("noto").resolve() == tmp_path / "noto"


@pytest.mark.parametrize("name", ["", "Noto", "noto/", "./noto", "owner/noto", "~/noto", os.curdir])
def test_other_names_are_paths(name):
    assert shipped_folder(name) is None
    assert local_folder(name) == local_folder(local_folder(name))
