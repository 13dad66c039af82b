import copy
import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import torch
from datasets import Dataset, Features, List, Value, load_dataset
from PIL import Image

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_dataset import load_codes, write_codes
from pictogram.tokenizer.codes_manifest import MANIFEST_NAME, CodesManifest
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import codes_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_images
from pictogram.tokenizer.images import ImageSource, load_image_source
from pictogram.tokenizer.loading import LoadedImageTokenizer
from pictogram.tokenizer.model import ImageTokenizer

SIZE = {"height": 16, "width": 16}


@pytest.fixture(scope="module")
def tokenizer() -> ImageTokenizer:
    return make_tokenizer(0)


@pytest.fixture(scope="module")
def processor() -> ImageTokenizerImageProcessorPil:
    return ImageTokenizerImageProcessorPil(size=SIZE)


def make_tokenizer(seed: int, **settings) -> ImageTokenizer:
    torch.manual_seed(seed)
    config = {"image_size": 16, "strides": ["image", 8, 4], "codebook_sizes": [4, 8, 300], "hidden_size": 8}
    return ImageTokenizer(ImageTokenizerConfig(**(config | settings))).eval()


def emoji(count: int = 10) -> ImageSource:
    return load_image_source("embedded").select(range(count))


def write_pictures(folder: Path, sizes: Mapping[str, tuple[int, int] | None]) -> ImageSource:
    """A folder of random pictures; None stands for a damaged file."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, size in sizes.items():
        if size is None:
            (folder / name).write_bytes(b"no picture")
        else:
            pixels = generator.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)
    return load_image_source(str(folder))


def damage_page(shard: Path) -> None:
    """Changes bytes where the first level's codes begin; the footer stays whole."""
    column = pyarrow.parquet.read_metadata(shard).row_group(0).column(2)
    start = column.dictionary_page_offset or column.data_page_offset
    content = bytearray(shard.read_bytes())
    content[start : start + 10] = bytes(255 - byte for byte in content[start : start + 10])
    shard.write_bytes(content)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# What is written


def test_codes_are_the_tokenizer_s(tokenizer, processor, tmp_path):
    source = emoji()
    steps = []
    write_codes(source, tokenizer, processor, tmp_path, rows_per_shard=4, batch_size=3, progress=steps.append)
    assert sum(steps) == 10
    dataset = load_codes(tmp_path, tokenizer=tokenizer, processor=processor)
    assert (len(dataset), dataset.grids) == (10, ((1, 1), (2, 2), (4, 4)))
    assert dataset.codebook_sizes == (4, 8, 300)
    assert dataset.keys == list(source.keys)
    assert [dataset.captions(index) for index in range(10)] == [source.captions(index) for index in range(10)]
    rows = [7, 0, 7]
    pixel_values = processor([source.read(index) for index in rows], return_tensors="pt")["pixel_values"]
    for level, expected in zip(dataset.codes(rows), tokenizer.encode(pixel_values), strict=True):
        assert level.dtype == torch.int64
        assert torch.equal(level, expected)


def test_any_datasets_user_can_read_it(tokenizer, processor, tmp_path):
    write_codes(emoji(), tokenizer, processor, tmp_path, rows_per_shard=4)
    assert [path.name for path in sorted((tmp_path / "data").iterdir())] == [
        f"train-0000{index}-of-00003.parquet" for index in range(3)
    ]
    rows = load_dataset("parquet", data_files=str(tmp_path / "data" / "train-*.parquet"), split="train")
    assert rows.features["codes_2"] == List(Value("uint16"))
    assert rows.features["category"].names[0] == "Activities"
    names = ["key", "view", "codes_0", "codes_1", "codes_2", "height", "width", "caption", "name", "category", "emoji"]
    assert rows.column_names == names
    assert (rows[0]["key"], rows[0]["view"], rows[0]["height"], rows[0]["width"]) == ("row-000000", 0, 32, 32)
    assert len(rows[0]["codes_2"]) == 16


def test_manifest(tokenizer, processor, tmp_path):
    manifest = write_codes(emoji(), tokenizer, processor, tmp_path, tokenizer_id="me/tiny")
    assert CodesManifest.load(tmp_path) == manifest
    stored = json.loads((tmp_path / MANIFEST_NAME).read_text())
    assert stored["tokenizer_id"] == "me/tiny"
    assert stored["codes_fingerprint"] == codes_fingerprint(tokenizer, processor)
    assert stored["codes_fingerprint"] != stored["decoder_fingerprint"]
    assert stored["grids"] == [[1, 1], [2, 2], [4, 4]]
    assert (stored["strides"], stored["codebook_sizes"]) == (["image", 8, 4], [4, 8, 300])
    assert stored["preprocessing"]["size"] == SIZE
    assert stored["encoding_dtype"] == "float32"
    assert {"torch", "pillow", "pictogram"} <= set(stored["versions"])
    assert stored["splits"]["train"]["rows"] == stored["splits"]["train"]["input_rows"] == 10


def test_several_splits_share_a_folder(tokenizer, processor, tmp_path):
    write_codes(emoji(), tokenizer, processor, tmp_path)
    write_codes(load_image_source("embedded", "test").select(range(3)), tokenizer, processor, tmp_path, split="test")
    assert (len(load_codes(tmp_path)), len(load_codes(tmp_path, "test"))) == (10, 3)
    with pytest.raises(InputError, match="no split 'val'; it has: train, test"):
        load_codes(tmp_path, "val")


def test_lists_of_captions_and_columns_with_taken_names(tokenizer, processor, tmp_path):
    columns = {"text": [["ein Haus", "房子"], [], [""]], "caption": [1, 2, 3], "key": ["x", "y", "z"]}
    pictures = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 100, 200)]
    features = {"text": List(Value("string")), "caption": Value("int32"), "key": Value("string")}
    rows = Dataset.from_dict({"image": pictures, **columns}, Features({"image": datasets.Image(), **features}))
    rows.to_parquet(tmp_path / "in.parquet")
    write_codes(load_image_source(str(tmp_path / "in.parquet")), tokenizer, processor, tmp_path / "out")
    dataset = load_codes(tmp_path / "out")
    assert [dataset.captions(index) for index in range(3)] == [["ein Haus", "房子"], [""], [""]]
    assert dataset.dataset["source_key"][1] == "y"
    assert dataset.dataset["source_caption"][2] == 3
    assert "text" not in dataset.dataset.column_names


@pytest.mark.parametrize("settings", [{"split": "a-b"}, {"split": ""}, {"batch_size": 0}, {"rows_per_shard": 0}])
def test_impossible_settings(settings, tokenizer, processor, tmp_path):
    with pytest.raises(InputError, match="got"):
        write_codes(emoji(), tokenizer, processor, tmp_path, **settings)


# Pictures that cannot be used


def test_damaged_pictures_are_listed_with_their_reason(tokenizer, processor, tmp_path):
    names = {"a.png": (16, 16), "b.png": None, "c.png": (20, 9), "d.png": None, "e.png": None}
    source = write_pictures(tmp_path / "in", names)
    manifest = write_codes(
        source, tokenizer, processor, tmp_path / "out", rows_per_shard=2
    )  # the last shard stays empty
    reason = "not a picture PIL can read"
    assert manifest.splits["train"].failures == [{"key": f"{name}.png", "reason": reason} for name in "bde"]
    dataset = load_codes(tmp_path / "out")
    assert dataset.keys == ["a.png", "c.png"]
    assert len(load_dataset("parquet", data_files=str(tmp_path / "out" / "data" / "*.parquet"), split="train")) == 2
    assert (dataset.dataset["height"][1], dataset.dataset["width"][1]) == (9, 20)


def test_not_one_good_picture(tokenizer, processor, tmp_path):
    source = write_pictures(tmp_path / "in", {"a.png": None, "b.png": None})
    with pytest.raises(InputError, match="none of the 2 pictures"):
        write_codes(source, tokenizer, processor, tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST_NAME).exists()


def test_native_sizes(tokenizer, tmp_path):
    sizes = {"a.png": (16, 16), "b.png": (24, 8), "c.png": (17, 16), "d.png": (16, 16)}
    source = write_pictures(tmp_path / "in", sizes)
    native = ImageTokenizerImageProcessorPil(do_resize=False)
    manifest = write_codes(source, tokenizer, native, tmp_path / "out")
    (failure,) = manifest.splits["train"].failures
    assert failure["key"] == "c.png"
    assert "multiples of 8 pixels" in failure["reason"]
    dataset = load_codes(tmp_path / "out", tokenizer=tokenizer, processor=native)
    assert dataset.grids is None
    assert [tuple(level.shape) for level in dataset.codes([0, 2])] == [(2, 1, 1), (2, 2, 2), (2, 4, 4)]
    assert [tuple(level.shape) for level in dataset.codes([1])] == [(1, 1, 1), (1, 1, 3), (1, 2, 6)]
    with pytest.raises(InputError, match="equal grids"):
        dataset.codes([0, 1])


# Runs that are killed


class Killed(BaseException):
    """Stands for a signal: nothing may catch it."""


@pytest.mark.parametrize("kill_at", [1, 4, 9])
def test_a_killed_run_ends_with_the_same_bytes(kill_at, tokenizer, processor, tmp_path):
    names = {f"{index}.png": None if index in (1, 8) else (16, 16) for index in range(10)}
    source = write_pictures(tmp_path / "in", names)
    write_codes(source, tokenizer, processor, tmp_path / "whole", rows_per_shard=3, batch_size=2)

    done = 0

    def kill(count: int) -> None:
        nonlocal done
        done += count
        if done >= kill_at:
            raise Killed

    with pytest.raises(Killed):
        write_codes(source, tokenizer, processor, tmp_path / "cut", rows_per_shard=3, batch_size=2, progress=kill)
    with pytest.raises(InputError, match=r"has not finished|does not exist"):
        load_codes(tmp_path / "cut")
    write_codes(source, tokenizer, processor, tmp_path / "cut", rows_per_shard=3, batch_size=2)
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_finished_shards_are_not_made_again_and_damaged_ones_are(tokenizer, processor, tmp_path):
    write_codes(emoji(), tokenizer, processor, tmp_path, rows_per_shard=4)
    before = digests(tmp_path)
    first, second, third = sorted((tmp_path / "data").iterdir())
    times = first.stat().st_mtime_ns
    second.unlink()
    third.write_bytes(third.read_bytes()[:100])
    (tmp_path / MANIFEST_NAME).unlink()
    write_codes(emoji(), tokenizer, processor, tmp_path, rows_per_shard=4)
    assert digests(tmp_path) == before
    assert first.stat().st_mtime_ns == times


@pytest.mark.parametrize("streaming", [False, True])
def test_shards_with_a_damaged_page_are_named(streaming, tokenizer, processor, tmp_path):
    write_codes(emoji(), tokenizer, processor, tmp_path, rows_per_shard=4)
    damage_page(tmp_path / "data" / "train-00001-of-00003.parquet")
    with pytest.raises(InputError, match=r"train-00001-of-00003\.parquet of .* is damaged: ") as raised:
        codes = load_codes(tmp_path, streaming=streaming)
        list(codes.batches(4))
    assert "\n" not in str(raised.value)


# Folders that do not belong together


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tokenizer": make_tokenizer(1)}, "codes_fingerprint"),
        ({"processor": ImageTokenizerImageProcessorPil(size=SIZE, background=[0, 0, 0])}, "preprocessing"),
        ({"source": emoji(9)}, "input_rows 10, this run has 9"),
        ({"rows_per_shard": 5}, "rows_per_shard 4, this run has 5"),
        ({"source": load_image_source("embedded").select(range(5, 15))}, "keys_sha256"),
    ],
    ids=["tokenizer", "preprocessing", "row count", "shard size", "other rows"],
)
def test_other_codes_in_the_folder_are_refused_before_any_work(
    change, message, with_manifest, tokenizer, processor, tmp_path
):
    run = {"source": emoji(), "tokenizer": tokenizer, "processor": processor, "rows_per_shard": 4}
    write_codes(**run, output_dir=tmp_path)
    if not with_manifest:
        (tmp_path / MANIFEST_NAME).unlink()
    before = digests(tmp_path)
    with pytest.raises(InputError, match=message):
        write_codes(**(run | change), output_dir=tmp_path, progress=lambda _: pytest.fail("work was done"))
    assert digests(tmp_path) == before


def test_another_split_of_another_tokenizer_is_refused(tokenizer, processor, tmp_path):
    write_codes(emoji(), tokenizer, processor, tmp_path)
    (tmp_path / MANIFEST_NAME).unlink()
    with pytest.raises(InputError, match="codes_fingerprint"):
        write_codes(emoji(), make_tokenizer(1), processor, tmp_path, split="test")


def test_output_that_is_a_file_or_somebody_else_s(tokenizer, processor, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="is a file"):
        write_codes(emoji(), tokenizer, processor, tmp_path / "file")
    (tmp_path / "data").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(InputError, match="not made by pictogram"):
        write_codes(emoji(), tokenizer, processor, tmp_path)


# What reading refuses


def test_loading_checks_the_fingerprint(tokenizer, processor, tmp_path):
    manifest = write_codes(emoji(), tokenizer, processor, tmp_path)
    load_codes(tmp_path, codes_fingerprint=manifest.codes_fingerprint)
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        load_codes(tmp_path, codes_fingerprint="0" * 64)
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        load_codes(tmp_path, tokenizer=make_tokenizer(1), processor=processor)
    with pytest.raises(InputError, match="pass processor="):
        load_codes(tmp_path, tokenizer=tokenizer)


def test_the_processor_is_found_beside_the_tokenizer(tokenizer, processor, tmp_path):
    for part in (tokenizer, processor):
        part.save_pretrained(tmp_path / "model")
    loaded = ImageTokenizer.from_pretrained(tmp_path / "model")
    manifest = write_codes(emoji(), loaded, processor, tmp_path / "codes")
    assert manifest.tokenizer_id == str(tmp_path / "model")
    assert len(load_codes(tmp_path / "codes", tokenizer=loaded)) == 10


def test_missing_folder_manifest_and_shards(tokenizer, processor, tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        load_codes(tmp_path / "nothing")
    write_codes(emoji(), tokenizer, processor, tmp_path, rows_per_shard=4)
    first, second, _ = sorted((tmp_path / "data").iterdir())
    whole = second.read_bytes()
    second.unlink()
    with pytest.raises(InputError, match=r"00001-of-00003.parquet is missing"):
        load_codes(tmp_path)
    second.write_bytes(whole[:100])
    with pytest.raises(InputError, match="is damaged"):
        load_codes(tmp_path)
    second.write_bytes(whole)
    first.write_bytes((tmp_path / "data" / "train-00002-of-00003.parquet").read_bytes())
    with pytest.raises(InputError, match="holds 8 rows, its manifest says 10"):
        load_codes(tmp_path)
    first.unlink()
    (tmp_path / MANIFEST_NAME).write_text("{}")
    with pytest.raises(InputError, match="not a manifest"):
        load_codes(tmp_path)


# What is read


@pytest.fixture(scope="module")
def twelve(tokenizer, processor, tmp_path_factory) -> Path:
    """A folder with the codes of 12 pictures."""
    folder = tmp_path_factory.mktemp("twelve")
    write_codes(emoji(12), tokenizer, processor, folder, rows_per_shard=5)
    return folder


def test_codes_are_read_in_any_order_and_more_than_once(twelve):
    dataset = load_codes(twelve)
    rows = [7, 0, 7, 11, -1]
    stored = {name: list(dataset.dataset[name]) for name in ("codes_0", "codes_1", "codes_2")}
    for level, codes in enumerate(dataset.codes(rows)):
        assert codes.flatten(1).tolist() == [stored[f"codes_{level}"][row] for row in rows]
    assert [tuple(level.shape) for level in dataset.codes([])] == [(0, 1, 1), (0, 2, 2), (0, 4, 4)]
    with pytest.raises(IndexError):
        dataset.codes([12])


def test_other_processes_get_the_dataset_without_its_memory(twelve):
    dataset = load_codes(twelve)
    codes, keys = dataset.codes([3, 1]), dataset.keys
    sent = pickle.dumps(dataset)
    assert set(dataset.__getstate__()) == {"dataset", "manifest", "split", "revision"}
    received = pickle.loads(sent)
    assert received.keys == keys
    assert all(torch.equal(a, b) for a, b in zip(received.codes([3, 1]), codes, strict=True))


def test_decoding(tokenizer, processor, twelve):
    dataset = load_codes(twelve)
    for num_levels in (None, 1, 2, 3):
        right = to_images(tokenizer.decode(dataset.codes([5, 0, 5]), num_levels))
        pictures = dataset.decode([5, 0, 5], tokenizer, num_levels, processor)
        assert [picture.tobytes() for picture in pictures] == [picture.tobytes() for picture in right]
        assert (pictures[0].size, pictures[0].mode) == ((16, 16), "RGB")
    assert dataset.decode([], tokenizer, processor=processor) == []
    loaded = LoadedImageTokenizer(tokenizer, processor, "mine")
    assert len(dataset.decode(iter([1, 2]), loaded)) == 2
    with pytest.raises(InputError, match="num_levels"):
        dataset.decode([0], loaded, 4)


def test_decoding_asks_for_the_tokenizer_that_made_the_codes(tokenizer, processor, twelve):
    dataset = load_codes(twelve)
    other = LoadedImageTokenizer(make_tokenizer(1), processor, "other")
    with pytest.raises(InputError, match="split train holds codes of image tokenizer"):
        dataset.decode([0], other)
    with pytest.raises(InputError, match="pass processor="):
        dataset.decode([0], tokenizer)
    better = copy.deepcopy(tokenizer)  # another decoder: the codes are the same, the pictures are not
    with torch.no_grad():
        better.decoder.head[-1].project.weight.mul_(0.5)  # pyright: ignore
    pictures = [dataset.decode([0], model, processor=processor)[0].tobytes() for model in (tokenizer, better)]
    assert pictures[0] != pictures[1]


def test_decoding_of_several_sizes(tokenizer, tmp_path):
    source = write_pictures(tmp_path / "in", {"a.png": (16, 16), "b.png": (24, 8), "c.png": (16, 16)})
    native = ImageTokenizerImageProcessorPil(do_resize=False)
    write_codes(source, tokenizer, native, tmp_path / "out")
    pictures = load_codes(tmp_path / "out").decode([0, 1, 2], tokenizer, processor=native)
    assert [picture.size for picture in pictures] == [(16, 16), (24, 8), (16, 16)]


def test_parts_by_key(tokenizer, processor, twelve, tmp_path):
    dataset = load_codes(twelve)
    parts = dataset.split_by_key({"train": 0.7, "test": 0.3})
    assert {name: part.split for name, part in parts.items()} == {"train": "train", "test": "test"}
    assert sorted(parts["train"].keys + parts["test"].keys) == sorted(dataset.keys)
    place = {key: row for row, key in enumerate(dataset.keys)}
    for part in parts.values():
        assert part.grids == dataset.grids
        rows = [place[key] for key in part.keys]
        assert [part.captions(row) for row in range(len(part))] == [dataset.captions(row) for row in rows]
        for level, right in zip(part.codes(range(len(part))), dataset.codes(rows), strict=True):
            assert torch.equal(level, right)
    write_codes(emoji(12), tokenizer, processor, tmp_path, rows_per_shard=2)
    again = load_codes(tmp_path).split_by_key({"train": 0.7, "test": 0.3})
    assert {name: part.keys for name, part in again.items()} == {name: part.keys for name, part in parts.items()}
    smaller = parts["train"].split_by_key({"a": 0.5, "b": 0.5}, seed=1)
    assert sorted(smaller["a"].keys + smaller["b"].keys) == sorted(parts["train"].keys)
    with pytest.raises(InputError, match="must add up to 1"):
        dataset.split_by_key({"train": 0.9, "test": 0.2})


def test_a_revision_belongs_to_a_name(twelve):
    with pytest.raises(InputError, match="a revision, 'v1', needs a name on the Hub"):
        load_codes(twelve, revision="v1")
    assert load_codes(twelve).revision is None
    with pytest.raises(InputError, match="no folder of that name is here, and dataset owner/name is not in the cache"):
        load_codes("owner/name")
