from pathlib import Path

import pytest

from pictogram.hub import files
from pictogram.hub.errors import InputError
from pictogram.hub.files import (
    atomic_files,
    atomic_write_bytes,
    atomic_write_text,
    check_new_file,
    check_new_folder,
    check_targets,
    read_json,
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


def test_files_appear_together_and_others_stay(tmp_path):
    (tmp_path / "kept.txt").write_text("kept")
    (tmp_path / "old.txt").write_text("old")
    with atomic_files(tmp_path) as folder:
        (folder / "deep").mkdir()
        (folder / "deep" / "new.txt").write_text("new")
        (folder / "old.txt").write_text("newer")
        assert (tmp_path / "old.txt").read_text() == "old" and not (tmp_path / "deep").exists()
    assert names(tmp_path) == ["deep", "kept.txt", "old.txt"]
    assert (tmp_path / "old.txt").read_text() == "newer" and (tmp_path / "deep" / "new.txt").read_text() == "new"


def test_two_machines_whose_processes_have_one_number_do_not_disturb_each_other(tmp_path):
    with atomic_files(tmp_path) as first:
        (first / "one.txt").write_text("1")
        with atomic_files(tmp_path) as second:
            (second / "two.txt").write_text("2")
    assert names(tmp_path) == ["one.txt", "two.txt"]


def test_an_error_changes_nothing(tmp_path):
    (tmp_path / "old.txt").write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_files(tmp_path) as folder:
        (folder / "old.txt").write_text("newer")
        _ = 1 / 0
    assert names(tmp_path) == ["old.txt"] and (tmp_path / "old.txt").read_text() == "old"


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="Is a directory") as caught:
        atomic_write_text(tmp_path / "taken", "text")
    assert caught.value.filename == str(tmp_path / "taken")


def test_places_are_tried_before_the_work(tmp_path):
    check_new_file(tmp_path / "new" / "file")
    check_new_folder(tmp_path / "folder")
    (tmp_path / "file").write_text("kept")
    check_new_file(tmp_path / "file")
    assert names(tmp_path) == ["file", "folder", "new"] and not names(tmp_path / "folder")
    assert (tmp_path / "file").read_text() == "kept"
    with pytest.raises(InputError, match=r"expected a file to write, .*folder is a folder"):
        check_new_file(tmp_path / "folder")
    with pytest.raises(InputError, match=r"expected a folder to write into, .*file is a file"):
        check_new_folder(tmp_path / "file")


def test_targets_are_no_inputs_and_differ(tmp_path):
    (tmp_path / "a").write_text("a")
    (tmp_path / "link").symlink_to("a")
    check_targets([tmp_path / "b", tmp_path / "c"], [tmp_path / "a"])
    with pytest.raises(InputError, match="b would be written twice"):
        check_targets([tmp_path / "b", tmp_path / "." / "b"])
    with pytest.raises(InputError, match="link would be replaced by what is made of it"):
        check_targets([tmp_path / "link"], [tmp_path / "a"])
