import os
from pathlib import Path

from pictogram.hub.staging import stage, staging_folder


def test_links_and_what_is_written_are_gone_afterwards(tmp_path):
    (tmp_path / "file").write_text("x")
    with staging_folder() as staging:
        stage(tmp_path / "file", staging / "deep" / "other")
        assert (staging / "deep" / "other").read_text() == "x"
        (staging / "new").write_text("y")
    assert not staging.exists()
    assert (tmp_path / "file").read_text() == "x"


def test_links_of_relative_paths_hold(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    with staging_folder() as staging:
        stage(Path("file"), staging / "file")
        assert (staging / "file").read_text() == "x"


def test_systems_without_links_get_copies(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no links here")

    monkeypatch.setattr(os, "symlink", refuse)
    (tmp_path / "file").write_text("x")
    with staging_folder() as staging:
        stage(tmp_path / "file", staging / "file")
        assert not (staging / "file").is_symlink()
        assert (staging / "file").read_text() == "x"
