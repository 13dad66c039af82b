import json
import zipfile
from pathlib import Path

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, Features, List, Value
from tiny_pictures import damaged_folder, picture, png, write_files

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_sources import open_codes_source
from pictogram.tokenizer.decoding import UnreadableImage
from pictogram.tokenizer.images import Failure, find_unreadable, load_image_source
from pictogram.tokenizer.input_shards import InputRow
from pictogram.tokenizer.sources import visible_files


def write_parquet(path: Path, columns: dict[str, list], features: Features | None = None) -> str:
    count = len(next(iter(columns.values())))
    rows = {"image": [{"bytes": png(seed), "path": None} for seed in range(count)], **columns}
    features = Features({"image": datasets.Image(), **features}) if features else None
    Dataset.from_dict(rows, features=features).to_parquet(path)
    return str(path)


def all_captions(source) -> list[list[str]]:
    return [source.captions(index) for index in range(len(source))]


# Sources


def test_embedded():
    source = load_image_source("embedded")
    assert (len(source), source.captions(0), source.key(7)) == (1806, ["grinning face"], "row-000007")
    assert source.read(0).size == (32, 32)
    assert len(load_image_source("embedded", split="test")) == 100
    assert len(load_image_source("embedded", split=None)) == 1906


def test_nested_folder_of_mixed_formats(tmp_path):
    files = {"a.png": png(0), "deep/er/b.PNG": png(1), "notes.txt": "hello", ".hidden.png": png(2)}
    source = load_image_source(str(write_files(tmp_path, files)))
    assert source.keys == ("a.png", "deep/er/b.PNG")
    assert source.read(1).tobytes() == picture(1).tobytes()
    assert all_captions(source) == [[""], [""]]


def test_names_that_look_like_patterns_or_splits_are_just_names(tmp_path):
    folder = tmp_path / "my [pictures]*"
    names = ["Katze am Fenster ä.png", "img[1].png", "test_1.png", "猫/train.png"]
    source = load_image_source(str(write_files(folder, {name: png() for name in names})))
    assert sorted(source.keys) == sorted(names)


def test_class_folders_give_captions(tmp_path):
    files = {"cat/a.png": png(), "dog/b.png": png(), "train/c.png": png()}
    assert all_captions(load_image_source(str(write_files(tmp_path, files)))) == [["cat"], ["dog"], ["train"]]


def test_metadata_jsonl_captions_in_other_languages_and_empty_ones(tmp_path):
    captions = ["ein rotes Haus", "", "红色的房子 🏠", "بيت أحمر"]
    lines = [json.dumps({"file_name": f"{i}.png", "text": text}) for i, text in enumerate(captions)]
    lines.append(json.dumps({"file_name": "0.png", "text": None}))
    write_files(tmp_path, {f"{i}.png": png(i) for i in range(4)} | {"metadata.jsonl": "\n".join(lines)})
    source = load_image_source(str(tmp_path))
    assert all_captions(source) == [[text] for text in captions] + [[""]]
    assert source.keys == ("0.png", "1.png", "2.png", "3.png", "0.png#2")


def test_pictures_that_the_metadata_does_not_name_are_kept_without_caption(tmp_path):
    lines = [json.dumps({"file_name": f"{i}.png", "caption": f"number {i}", "stars": i}) for i in (2, 0)]
    files = {f"{i}.png": png(i) for i in range(3)} | {"broken.png": b"", "metadata.jsonl": "\n".join(lines)}
    source = load_image_source(str(write_files(tmp_path, files)))
    captions = {source.key(row): source.captions(row) for row in range(len(source))}
    assert captions == {"2.png": ["number 2"], "0.png": ["number 0"], "1.png": [""], "broken.png": [""]}
    assert [failure.key for failure in find_unreadable(source)] == ["broken.png"]
    named = {source.key(row): row for row in range(len(source))}
    assert all(source.read(named[f"{i}.png"]).tobytes() == picture(i).tobytes() for i in range(3))


def test_metadata_that_names_no_file(tmp_path):
    lines = [{"file_name": "0.png", "n": 1}, {"file_name": None, "n": 2}, {"file_name": "1.png", "n": 3}]
    files = {f"{i}.png": png(i) for i in range(2)} | {"0.txt": "zero"}
    write_files(tmp_path, files | {"metadata.jsonl": "\n".join(map(json.dumps, lines))})
    source = load_image_source(str(tmp_path))
    assert source.keys == ("0.png", "row-000001", "1.png")
    assert all_captions(source) == [["zero"], [""], [""]]
    assert [failure.reason for failure in find_unreadable(source)] == ["no picture in this row"]
    rows = [row for shard in source.input_shards(2) for row in shard.rows()]
    assert [row.key for row in rows] == list(source.keys)


def test_metadata_csv(tmp_path):
    write_files(tmp_path, {"x/a.png": png(), "metadata.csv": 'file_name,caption\nx/a.png,"a, b"\n'})
    source = load_image_source(str(tmp_path))
    assert (source.keys, all_captions(source)) == (("x/a.png",), [["a, b"]])


def test_split_folders(tmp_path):
    write_files(tmp_path, {"train/cat/a.png": png(0), "train/dog/b.png": png(1), "test/cat/c.png": png(2)})
    assert load_image_source(str(tmp_path)).keys == ("train/cat/a.png", "train/dog/b.png")
    assert load_image_source(str(tmp_path), split="test").keys == ("test/cat/c.png",)
    assert len(load_image_source(str(tmp_path), split=None)) == 3
    with pytest.raises(InputError, match=r"no split 'val'; it has: test, train"):
        load_image_source(str(tmp_path), split="val")


def test_parquet_file_and_folder(tmp_path):
    single = write_parquet(tmp_path / "one [1].parquet", {"text": ["a", "b"]})
    source = load_image_source(single, split="test")
    assert (source.keys, all_captions(source)) == (("row-000000", "row-000001"), [["a"], ["b"]])
    assert source.read(1).tobytes() == picture(1).tobytes()

    folder = tmp_path / "set"
    folder.mkdir()
    for name, caption in [("train-00000-of-00002", "a"), ("train-00001-of-00002", "b"), ("test-00000-of-00001", "c")]:
        write_parquet(folder / f"{name}.parquet", {"caption": [caption]})
    assert all_captions(load_image_source(str(folder))) == [["a"], ["b"]]
    assert all_captions(load_image_source(str(folder), split="test")) == [["c"]]


def test_a_file_name_that_occurs_twice_names_no_split(tmp_path):
    columns = Features({"image": datasets.Image(), "caption": Value("string")})
    table = Dataset.from_dict({"image": [None], "caption": [""]}, features=columns)
    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        table.to_parquet(tmp_path / split / "data.parquet")
    with pytest.raises(InputError, match="has no split 'data'; it has: test, train"):
        load_image_source(str(tmp_path), "data")


def test_one_of_several_test_sets_goes_by_its_own_name(tmp_path):
    for name in ("train-00000-of-00001", "test_unseen", "test_composition"):
        write_parquet(tmp_path / f"{name}.parquet", {"caption": [name]})
    found = {split: load_image_source(str(tmp_path), split) for split in ("train", "test", "test_unseen", None)}
    captions = {split: [source.captions(row)[0] for row in range(len(source))] for split, source in found.items()}
    assert captions["train"] == ["train-00000-of-00001"]
    assert captions["test"] == ["test_composition", "test_unseen"]
    assert captions["test_unseen"] == ["test_unseen"]
    assert len(captions[None]) == 3
    with pytest.raises(InputError, match=r"it has: test, test_composition, test_unseen, train$"):
        load_image_source(str(tmp_path), "nonsense")


@pytest.mark.parametrize("streaming", [False, True])
def test_other_media_are_not_decoded(streaming, tmp_path):
    features = Features({"image": datasets.Image(), "mask": datasets.Image(), "masks": List(datasets.Image())})
    damaged = {"bytes": b"damaged", "path": None}
    rows = {"image": [{"bytes": png(), "path": None}] * 3, "mask": [damaged] * 3, "masks": [[damaged]] * 3}
    Dataset.from_dict(rows | {"n": [0, 1, 2]}, Features({**features, "n": Value("int64")})).to_parquet(
        tmp_path / "x.parquet"
    )
    source = open_codes_source(str(tmp_path / "x.parquet"), streaming=streaming)
    (shard,) = source.input_shards(4096)
    assert [row.values["n"] for row in shard.rows() if isinstance(row, InputRow)] == [0, 1, 2]


def test_parquet_of_another_tool(tmp_path):
    struct = [{"bytes": png(3), "path": "x.png"}]
    pyarrow.parquet.write_table(pyarrow.table({"img": struct, "n": [1]}), tmp_path / "struct.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"n": [1], "jpg": [png(3)]}), tmp_path / "binary.parquet")
    for name in ("struct", "binary"):
        source = load_image_source(str(tmp_path / f"{name}.parquet"))
        assert source.read(0).tobytes() == picture(3).tobytes()


# Captions


def test_caption_columns_by_default(tmp_path):
    columns = {"name": ["n", "n"], "text": [1, 2], "caption": [["a", "b"], []]}
    source = load_image_source(write_parquet(tmp_path / "x.parquet", columns))
    assert (source.caption_column, all_captions(source)) == ("caption", [["a", "b"], [""]])
    del columns["caption"]  # "text" holds numbers
    assert load_image_source(write_parquet(tmp_path / "y.parquet", columns)).caption_column == "name"


def test_class_labels_and_missing_labels(tmp_path):
    features = Features({"label": ClassLabel(names=["cat", "dog"])})
    source = load_image_source(write_parquet(tmp_path / "x.parquet", {"label": [1, -1, None]}, features))
    assert all_captions(source) == [["dog"], [""], [""]]


def test_class_labels_by_row(tmp_path):
    features = Features({"n": Value("int32"), "label": ClassLabel(names=["cat", "dog"])})
    columns = {"n": [1, 2, 3, 4], "label": [1, -1, None, 0]}
    source = load_image_source(write_parquet(tmp_path / "x.parquet", columns, features))
    labels = source.class_labels()
    assert labels is not None
    assert (labels.column, labels.names, labels.values.tolist()) == ("label", ("cat", "dog"), [1, -1, -1, 0])
    some = source.select([3, 0]).class_labels()
    assert some is not None and some.values.tolist() == [0, 1]
    assert load_image_source(write_parquet(tmp_path / "y.parquet", {"n": [1]})).class_labels() is None


def test_named_caption_column(tmp_path):
    features = Features({"alt": List(Value("string")), "n": Value("int32"), "caption": Value("string")})
    path = write_parquet(tmp_path / "x.parquet", {"alt": [["a", None]], "n": [1], "caption": ["c"]}, features)
    assert load_image_source(path, caption_column="alt").captions(0) == ["a", ""]
    with pytest.raises(InputError, match=r"no column 'title'; its columns: image, alt, n, caption"):
        load_image_source(path, caption_column="title")
    with pytest.raises(InputError, match="must be text"):
        load_image_source(path, caption_column="n")


# Sources that are not there


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "../nothing", "~/nothing", "a/b/c", "x.parquet"])
def test_missing_paths_never_reach_the_network(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pictogram.tokenizer.sources.load_dataset", lambda *args, **kwargs: pytest.fail("network"))
    with pytest.raises(InputError, match="does not exist"):
        load_image_source(name)


def test_name_of_no_dataset_is_one_line(monkeypatch):
    def offline(name):
        raise ConnectionError(f"cannot reach {name}\nlong story")

    monkeypatch.setattr("pictogram.tokenizer.sources.load_dataset", offline)
    with pytest.raises(InputError, match=r"^nobody/nothing is no file.*cannot reach nobody/nothing$"):
        load_image_source("nobody/nothing")


@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_of_scripts_are_one_line(streaming, monkeypatch):
    def refused(*args, **options):
        raise RuntimeError("Dataset scripts are no longer supported, but found x.py")

    monkeypatch.setattr("pictogram.tokenizer.sources.load_dataset", refused)
    with pytest.raises(InputError, match=r"^owner/old .*: Dataset scripts are no longer supported, but found x\.py$"):
        open_codes_source("owner/old", streaming=streaming)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "holds no files"),
        ({"a.txt": "x", "b/c.md": "y"}, "2 files but no pictures"),
        ({"a.png": png(), "b.parquet": b""}, "1 pictures and 1 parquet files"),
        ({"a.parquet": b"not parquet"}, "cannot be read"),
        ({"a.png": png(), "metadata.jsonl": '{"no": 1}'}, "file_name"),
        ({"a.png": png(), "metadata.jsonl": "no json"}, "cannot be read"),
    ],
)
def test_folders_that_cannot_be_used(files, message, tmp_path):
    with pytest.raises(InputError, match=message) as raised:
        load_image_source(str(write_files(tmp_path, files)))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_parquet(tmp_path):
    write_files(tmp_path, {"a.png": png()})
    with pytest.raises(InputError, match="not parquet"):
        load_image_source(str(tmp_path / "a.png"))


def test_no_column_with_pictures(tmp_path):
    Dataset.from_dict({"a": [1], "b": ["x"]}).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no column with pictures; its columns: a, b"):
        load_image_source(str(tmp_path / "x.parquet"))


def test_no_rows(tmp_path):
    Dataset.from_dict({"image": []}, Features({"image": datasets.Image()})).to_parquet(tmp_path / "x.parquet")
    with pytest.raises(InputError, match="no data"):
        load_image_source(str(tmp_path / "x.parquet"))


# Pictures that cannot be read


def test_damaged_pictures_are_listed_and_the_rest_kept(tmp_path):
    source = load_image_source(damaged_folder(tmp_path))
    steps = []
    failures = find_unreadable(source, progress=steps.append)
    assert sum(steps) == len(source) == 8
    assert [failure.key[0] for failure in failures] == list("bcdef")
    assert failures[1] == Failure(2, "c_empty.png", "empty file")
    assert failures[2].reason == "not a picture PIL can read"
    assert "truncated" in failures[0].reason and "truncated" in failures[4].reason
    kept = source.without(failures)
    assert kept.keys == ("a.png", "g.png", "h_really_png.jpg")
    assert kept.read(2).tobytes() == picture(5).tobytes()
    assert find_unreadable(kept) == []


def test_not_one_readable_picture(tmp_path):
    write_files(tmp_path, {"a.png": b"", "b.png": "x"})
    with pytest.raises(InputError, match=r"none of the 2 pictures .*a.png \(empty file\) and 1 more"):
        find_unreadable(load_image_source(str(tmp_path)))


def test_no_pictures_no_failures():
    assert find_unreadable(load_image_source("embedded").select([])) == []


def test_file_that_vanished(tmp_path):
    source = load_image_source(str(write_files(tmp_path, {"a.png": png()})))
    (tmp_path / "a.png").unlink()
    with pytest.raises(UnreadableImage, match="file not found"):
        source.read(0)


# Rows


def test_a_source_is_known_by_its_pictures(tmp_path):
    files = {f"{index:03d}.png": png(index) for index in range(130)}
    source = load_image_source(str(write_files(tmp_path / "a", files)))
    elsewhere = load_image_source(str(write_files(tmp_path / "b", files)))
    changed = load_image_source(str(write_files(tmp_path / "c", files | {"000.png": png(999)})))
    assert source.identity() == elsewhere.identity() != changed.identity()
    assert changed.identity()["keys_sha256"] == source.identity()["keys_sha256"]


def test_what_has_no_picture_is_known_too(tmp_path):
    table = Dataset.from_dict({"image": [None]}, Features({"image": datasets.Image()}))
    table.to_parquet(tmp_path / "x.parquet")
    gone = load_image_source(str(write_files(tmp_path / "gone", {"a.png": png()})))
    (tmp_path / "gone" / "a.png").unlink()
    for source in (load_image_source(str(tmp_path / "x.parquet")), gone):
        assert len(source.identity()["pictures_sha256"]) == 64
    assert len(load_image_source("embedded").select([]).identity()["pictures_sha256"]) == 64


def test_keys_stay_when_rows_are_left_out():
    source = load_image_source("embedded").select([5, 3]).select([1])
    assert (len(source), source.key(0)) == (1, "row-000003")
    assert source.captions(0) == load_image_source("embedded").captions(3)


@pytest.mark.parametrize("name", ["std::vector.png", b"caf\xe9.png".decode("utf-8", "surrogateescape")])
def test_names_that_datasets_cannot_open_are_named(tmp_path, name):
    write_files(tmp_path, {"a.png": png(0)})
    try:
        (tmp_path / name).write_bytes(png(1))
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(InputError, match="rename it"):
        load_image_source(str(tmp_path))


def test_an_archive_beside_pictures_is_none_of_them(tmp_path):
    write_files(tmp_path, {"a.png": png(0)})
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("in/b.png", png(1))
    assert load_image_source(str(tmp_path)).keys == ("a.png",)


def test_links_that_lead_back_are_not_followed_for_ever(tmp_path):
    write_files(tmp_path, {"in/a.png": png(0), "other/b.png": png(1)})
    (tmp_path / "in" / "up").symlink_to("..")
    (tmp_path / "in" / "other").symlink_to("../other")
    (tmp_path / "other" / "in").symlink_to("../in")
    found = [path.relative_to(tmp_path).as_posix() for path in visible_files(tmp_path)]
    assert found == ["in/a.png", "in/other/b.png", "other/b.png", "other/in/a.png"]


def test_captions_make_another_identity_for_codes_and_the_same_for_trainings(tmp_path):
    def source(name, words):
        files = {"a.png": png(0), "a.txt": words}
        return load_image_source(str(write_files(tmp_path / name, files)))

    one, same, other = source("one", "a cat"), source("same", "a cat"), source("other", "a dog")
    assert one.captions_identity() == same.captions_identity() != other.captions_identity()
    assert one.identity() == other.identity()
    assert load_image_source(str(write_files(tmp_path / "none", {"a.png": png(0)}))).captions_identity() == {
        "captions_sha256": None
    }
    column = load_image_source(write_parquet(tmp_path / "c.parquet", {"caption": ["a", "b"]}))
    changed = load_image_source(write_parquet(tmp_path / "d.parquet", {"caption": ["a", "c"]}))
    assert column.captions_identity() != changed.captions_identity()
