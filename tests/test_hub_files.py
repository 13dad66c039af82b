import os
from pathlib import Path

import pytest

from pictogram.hub import files
from pictogram.hub.errors import InputError
from pictogram.hub.files import (
    atomic_directory,
    atomic_write_bytes,
    atomic_write_text,
    read_json,
    recover_directory,
    replace_directory,
    write_json,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def killed(*args):
    raise KeyboardInterrupt


def test_bytes_and_text_are_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    atomic_write_bytes(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    atomic_write_text(path, "gr\u00fcn\n")
    assert path.read_bytes() == "gr\u00fcn\n".encode()
    assert names(path.parent) == ["file"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "file"
    atomic_write_text(path, "old")
    monkeypatch.setattr(files.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        atomic_write_text(path, "new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_json_round_trip(tmp_path):
    content = {"b": [1, 2.5, None], "a": "\u03bb"}
    write_json(tmp_path / "x.json", content)
    assert read_json(tmp_path / "x.json") == content
    assert "\u03bb" in (tmp_path / "x.json").read_text(encoding="utf-8")
    assert list(read_json(tmp_path / "x.json")) == ["b", "a"]


@pytest.mark.parametrize("content", [b"", b"{", b"{'a': 1}", b"\xff\xfe"])
def test_malformed_json_is_the_users_to_mend(tmp_path, content):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json is not valid JSON"):
        read_json(tmp_path / "x.json")


def test_missing_and_unreadable_json(tmp_path):
    with pytest.raises(InputError, match=r"y\.json is missing"):
        read_json(tmp_path / "y.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be read"):
        read_json(tmp_path / "file" / "x.json")


def test_directory_appears_whole_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "deep" / "target"
    for content in ("first", "second"):
        with atomic_directory(target) as folder:
            assert names(folder) == []
            (folder / content).touch()
            assert not (target / content).exists()
        assert names(target) == [content]
    assert names(target.parent) == ["target"]


def test_an_error_keeps_the_old_directory(tmp_path):
    target = tmp_path / "target"
    with atomic_directory(target) as folder:
        (folder / "old").touch()
    with pytest.raises(ZeroDivisionError), atomic_directory(target) as folder:
        (folder / "new").touch()
        raise ZeroDivisionError
    assert names(tmp_path) == ["target"]
    assert names(target) == ["old"]


def test_killed_between_the_two_renames(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source, target):
        folder.mkdir()
        (folder / f"from {folder.name}").touch()
    renames = []

    def dies_at_the_second(*paths):
        renames.append(paths)
        return os.rename(*paths) if len(renames) == 1 else killed()

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", dies_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            replace_directory(source, target)
    assert not target.exists()
    recover_directory(target)
    assert names(target) == ["from target"]
    replace_directory(source, target)
    assert names(target) == ["from source"]
    assert names(tmp_path) == ["target"]


def test_the_next_writer_recovers_a_directory_moved_aside(tmp_path):
    (tmp_path / ".target.old").mkdir()
    (tmp_path / ".target.old" / "kept").touch()
    with pytest.raises(ZeroDivisionError), atomic_directory(tmp_path / "target"):
        raise ZeroDivisionError
    assert names(tmp_path / "target") == ["kept"]


def test_recovery_leaves_a_whole_directory_alone(tmp_path):
    for name in ("target", ".target.old"):
        (tmp_path / name).mkdir()
    (tmp_path / "target" / "new").touch()
    recover_directory(tmp_path / "target")
    assert names(tmp_path / "target") == ["new"]
    recover_directory(tmp_path / "nothing")
