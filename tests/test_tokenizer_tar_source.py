import io
import json
import tarfile
from pathlib import Path

import pytest
from tiny_pictures import picture, png

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_sources import open_codes_source
from pictogram.tokenizer.decoding import decode_row
from pictogram.tokenizer.input_shards import InputRow, LostRow


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # pyright: ignore[reportCallIssue, reportArgumentType]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def rows(source, shard: int = 0) -> list[InputRow | LostRow]:
    return list(source.input_shards(4096)[shard].rows())


def test_samples_with_captions_classes_and_descriptions(tmp_path):
    path = write_tar(
        tmp_path / "a.tar",
        {
            "0001.png": png(1),
            "0001.txt": "a cat\n黒い猫\n".encode(),
            "0001.cls": b"3",
            "folder/0001.JPG": png(2),
            "folder/0001.json": json.dumps({"caption": "a dog", "width": 8}).encode(),
            "0002.seg.png": png(3),
            "0003.png": png(4),
        },
    )
    first, second, strange, last = rows(open_codes_source(str(path)))
    assert isinstance(first, InputRow) and isinstance(second, InputRow) and isinstance(last, InputRow)
    assert (first.key, first.captions, first.values) == (
        "a.tar/0001",
        ["a cat", "黒い猫"],
        {"cls": 3, "json": None},
    )
    assert decode_row(first.picture).tobytes() == picture(1).tobytes()
    assert (second.key, second.captions) == ("a.tar/folder/0001", ["a dog"])
    assert json.loads(second.values["json"])["width"] == 8
    assert strange == LostRow("a.tar/0002", "expected one picture in the sample, got 0 among .seg.png")
    assert (last.key, last.captions) == ("a.tar/0003", [""])


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"a.txt": b"alone"}, "got 0 among .txt"),
        ({"a.png": b"1", "a.jpg": b"2"}, "got 2 among .jpg, .png"),
        ({"a.png": b"1", "a.txt": "Müller".encode("latin-1")}, "not UTF-8"),
        ({"a.png": b"1", "a.json": b"{"}, "not valid JSON"),
        ({"a.png": b"1", "a.json": b'{"caption": "\\ud800"}'}, "not UTF-8"),
        ({"a.png": b"1", "a.json": b'{"text": ["a", "\\ud800"]}'}, "not UTF-8"),
        ({"a.png": b"1", "a.json": b"[" * 100_000}, "nested too deeply"),
        ({"a.png": b"1", "a.cls": b"cat"}, "must be a whole number of 64 bits, got b'cat'"),
        ({"a.png": b"1", "a.cls": b"9" * 20}, f"must be a whole number of 64 bits, got b'{'9' * 20}'"),
        ({"a.png": b"1", "a.PNG": b"2"}, "expected one file of each kind in the sample, got 2 of .png"),
        ({"a\udcff.png": b"1"}, "its name is not UTF-8"),
        ({"a.p\udcffng": b"1"}, "its name is not UTF-8"),
    ],
)
def test_samples_that_are_left_out(files, reason, tmp_path):
    bad, good = rows(open_codes_source(str(write_tar(tmp_path / "a.tar", files | {"b.png": png()}))))
    assert isinstance(bad, LostRow) and reason in bad.reason
    assert f"{bad.key} {bad.reason}".encode(), "both go into files"
    assert isinstance(good, InputRow) and good.key == "a.tar/b"


def two_and_another(path: Path, name: str) -> Path:
    """An archive of a.png and b.png, and behind them a third picture of this name."""
    write_tar(path, {"a.png": png(1), "b.png": png(2)})
    with tarfile.open(path, "a") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(png(3))
        archive.addfile(member, io.BytesIO(png(3)))
    return path


def test_a_name_that_comes_twice(tmp_path):
    path = two_and_another(tmp_path / "a.tar", "a.png")
    assert [row.key for row in rows(open_codes_source(str(path)))] == ["a.tar/a", "a.tar/b", "a.tar/a#3"]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_cut_short_keeps_what_came_before(mode, tmp_path):
    path = write_tar(tmp_path / "a.tar", {f"{index}.png": png(index, (64, 64)) for index in range(5)}, mode)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])
    found = rows(open_codes_source(str(path)))
    assert 1 <= len(found) - 1 < 5 and all(isinstance(row, InputRow) for row in found[:-1])
    assert isinstance(found[-1], LostRow)
    assert found[-1].key == "a.tar" and f"damaged after {len(found) - 1} samples" in found[-1].reason


@pytest.mark.parametrize(
    ("damage", "samples"),
    [
        (lambda content, header: content[: header + 300], 2),
        (lambda content, header: content[:header], 2),
        (lambda content, header: content[: header + 100] + b"X" + content[header + 101 :], 2),
        (lambda content, header: b"", 0),
    ],
    ids=["header cut", "no end", "header changed", "empty"],
)
def test_an_archive_whose_headers_are_damaged_says_so(damage, samples, tmp_path):
    path = write_tar(tmp_path / "a.tar", {f"{index}.png": png(index) for index in range(5)})
    with tarfile.open(path) as archive:
        header = archive.getmembers()[3].offset  # the third sample may lack files: nothing tells that it is whole
    path.write_bytes(damage(path.read_bytes(), header))
    *whole, lost = rows(open_codes_source(str(path)))
    assert [row.key for row in whole] == [f"a.tar/{index}" for index in range(samples)]
    assert isinstance(lost, LostRow)
    assert lost.key == "a.tar" and f"damaged after {samples} samples" in lost.reason


def test_a_name_that_comes_twice_in_a_row(tmp_path):
    path = two_and_another(tmp_path / "a.tar", "b.png")
    first, twice = rows(open_codes_source(str(path)))
    assert isinstance(first, InputRow)
    assert twice == LostRow("a.tar/b", "expected one file of each kind in the sample, got 2 of .png")


def test_splits_of_a_folder_of_archives(tmp_path):
    write_tar(tmp_path / "train-000.tar", {"a.png": png()})
    write_tar(tmp_path / "train-001.tar", {"b.png": png()})
    write_tar(tmp_path / "test" / "x.tar.gz", {"c.png": png()}, "w:gz")
    source = open_codes_source(str(tmp_path))
    assert [shard.name for shard in source.input_shards(1)] == ["train-000.tar", "train-001.tar"]
    assert [row.key for row in rows(open_codes_source(str(tmp_path), "test"))] == ["test/x.tar.gz/c"]
    with pytest.raises(InputError, match="has no split 'valid'"):
        open_codes_source(str(tmp_path), "valid")
    with pytest.raises(InputError, match="no column 'title'"):
        open_codes_source(str(tmp_path), caption_column="title")
