"""Sets of samples that are drawn shard by shard."""

import json

import pytest
from datasets import load_dataset
from PIL import Image

from pictogram.hub.errors import InputError
from pictogram.pipelines.sample_shards import read_times, write_samples
from pictogram.tokenizer.images import load_image_source

NAMES = ["cat", "dog", "fish"]


def draw(classes, seeds):
    return [Image.new("L", (6, 4), 50 * number + seed) for number, seed in zip(classes, seeds, strict=True)]


def write(folder, count=8, draw=draw, seed=0, **changed):
    return write_samples(folder, draw, NAMES, count, seed=seed, origin={"who": "test"} | changed, shard_size=3)


def test_any_user_of_datasets_opens_a_set(tmp_path):
    times = write(tmp_path)
    assert times.num_images == 8
    rows = load_dataset("parquet", data_files=str(tmp_path / "*.parquet"), split="train", cache_dir=str(tmp_path / "c"))
    assert rows.features["label"].names == NAMES
    assert rows["label"] == [0, 1, 2, 0, 1, 2, 0, 1]
    assert rows["seed"] == list(range(8))
    assert [image.getpixel((0, 0)) for image in rows["image"]] == [0, 51, 102, 3, 54, 105, 6, 57]
    assert all(image.mode == "L" for image in rows["image"])


def test_sets_of_other_seeds_share_no_seed(tmp_path):
    drawn = []

    def remembers(classes, seeds):
        drawn.extend(seeds)
        return [Image.new("L", (6, 4)) for _ in seeds]

    for seed in (0, 1, 3, (1 << 31) - 1):
        write(tmp_path / str(seed), draw=remembers, seed=seed)
    assert len(set(drawn)) == 4 * 8 and max(drawn) < 1 << 63
    with pytest.raises(InputError, match=r"below 2\*\*31, got 2147483648"):
        write(tmp_path / "large", seed=1 << 31)


def test_pictogram_opens_a_set(tmp_path):
    write(tmp_path)
    source = load_image_source(str(tmp_path), "train")
    labels = source.class_labels()
    assert labels is not None and labels.names == tuple(NAMES)
    assert len(source) == 8


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    write(whole)
    seen = []

    def dies(classes, seeds):
        seen.append(list(seeds))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return draw(classes, seeds)

    with pytest.raises(KeyboardInterrupt):
        write(killed, draw=dies)
    write(killed, draw=dies)
    assert seen == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [6, 7]]
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in killed.iterdir())
    for name in names:
        if name != "times.jsonl":
            assert (whole / name).read_bytes() == (killed / name).read_bytes()
    assert read_times(killed).num_images == 8


def test_drawing_again_draws_nothing(tmp_path):
    first = write(tmp_path)
    assert write(tmp_path, draw=None) == first


@pytest.mark.parametrize("changes", [{"count": 9}, {"seed": 4}, {"who": "other"}])
def test_a_folder_keeps_one_set(tmp_path, changes):
    write(tmp_path)
    with pytest.raises(InputError, match="holds other samples"):
        write(tmp_path, **changes)


def test_a_shard_whose_time_was_written_twice_counts_once(tmp_path):
    write(tmp_path)
    with (tmp_path / "times.jsonl").open("a") as times:
        line = {"shard": "samples-00000-of-00003.parquet", "num_images": 3, "seconds": 5.0, "cpu_seconds": 7.0}
        times.write(json.dumps(line) + "\n")
    found = read_times(tmp_path)
    assert found.num_images == 8 and found.seconds >= 5 and found.cpu_seconds >= 7


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="must be at least 1, got 0"):
        write(tmp_path, count=0)
    with pytest.raises(InputError, match=r"times.jsonl is missing"):
        read_times(tmp_path)
