"""Shards made by several processes, killed at any moment: the same bytes as from one that never stopped."""

import hashlib
import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Features, Image
from test_tokenizer_tar_source import write_tar
from tiny_chain import image_tokenizer, processor
from tiny_pictures import png, write_files

from pictogram.hub.errors import InputError
from pictogram.tokenizer.claims import Worker
from pictogram.tokenizer.codes_check import check_codes
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.codes_job import CodesJob, _one_at_a_time, new_job
from pictogram.tokenizer.codes_manifest import CodesManifest, SplitManifest
from pictogram.tokenizer.codes_sources import open_codes_source
from pictogram.tokenizer.codes_writer import make_shards, run_job, write_codes
from pictogram.tokenizer.images import ImageSource, Progress
from pictogram.tokenizer.input_shards import CodesSource
from pictogram.tokenizer.views import ViewSettings

NUM_PICTURES = 120


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    files = {f"{index:03d}.png": png(index, (20, 16)) if index % 17 else b"damaged" for index in range(NUM_PICTURES)}
    return write_files(folder, files)


def job(source: CodesSource, folder: Path, **settings) -> CodesJob:
    chosen = {"split": "train", "rows_per_shard": 8, "batch_size": 4, "views": ViewSettings(flip=True), **settings}
    return new_job(source, image_tokenizer(), processor(), folder, **chosen)


def made(job: CodesJob, num_threads: int | None = None, progress: Progress | None = None) -> CodesManifest:
    return run_job(job, lambda worker: make_shards(job, worker, num_threads, progress))


def digests(folder: Path) -> dict[str, str]:
    """Of all files but those of the workers at work."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def in_child(source: CodesSource, folder: Path) -> int:
    """Starts a process that does what is left, slowly enough to be killed at it, and returns its number."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        torch.set_num_threads(1)  # its threads did not survive the fork
        made(job(source, folder), 1, progress=lambda count: time.sleep(0.01 * count))
        status = 0
    finally:
        os._exit(status)


def ended(pid: int, timeout: float) -> int | None:
    """The exit status, or None if it still runs then."""
    deadline = time.monotonic() + timeout
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.005)


def run_and_kill(source: CodesSource, folder: Path, seed: int) -> int:
    """Two processes that are killed at random moments and started again until both end well; how often it took."""
    draw = random.Random(seed)
    running: list[int] = []
    kills = finished = 0
    while finished < 2:
        while len(running) + finished < 2:
            running.append(in_child(source, folder))
        pid = draw.choice(running)
        status = ended(pid, draw.uniform(0, 0.3) if kills < 12 else 120)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            kills += 1
        else:
            assert status == 0
            finished += 1
        running.remove(pid)
    return kills


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 20))])
def test_two_workers_killed_at_random_moments(seed, pictures, tmp_path):
    torch.set_num_threads(1)
    source = open_codes_source(str(pictures))
    manifest = made(job(source, tmp_path / "whole"), 0)
    kills = run_and_kill(source, tmp_path / "killed", seed)
    assert kills > 0
    assert digests(tmp_path / "killed") == digests(tmp_path / "whole")
    check = check_codes(tmp_path / "killed")
    good = NUM_PICTURES - len(range(0, NUM_PICTURES, 17))
    assert (check.rows, check.problems) == (2 * good, [])
    assert manifest.splits["train"].rows == 2 * good
    assert len(manifest.splits["train"].failures) == NUM_PICTURES - good


def test_threads_and_batches_change_no_byte(pictures, tmp_path):
    source = open_codes_source(str(pictures))
    for name, threads in (("none", 0), ("three", 3)):
        made(job(source, tmp_path / name), threads)
    assert digests(tmp_path / "none") == digests(tmp_path / "three")


def test_views_are_further_rows(pictures, tmp_path):
    source = open_codes_source(str(pictures))
    write_codes(source, image_tokenizer(), processor(), tmp_path, views=ViewSettings(flip=True, num_crops=2))
    codes = load_codes(tmp_path)
    assert codes.dataset["view"][:5] == [0, 1, 2, 3, 0]
    assert codes.dataset["key"][:5] == ["001.png"] * 4 + ["002.png"]
    image = source.read(1)  # pyright: ignore[reportAttributeAccessIssue]
    mirrored = processor()(image.transpose(0), return_tensors="pt")["pixel_values"]
    for stored, level in zip(codes.codes([1]), image_tokenizer().encode(mirrored), strict=True):
        assert torch.equal(stored, level)
    assert set(codes.dataset["width"]) == {20}


def test_other_views_do_not_mix(pictures, tmp_path):
    source = open_codes_source(str(pictures))
    made(job(source, tmp_path))
    with pytest.raises(InputError, match="views"):
        job(source, tmp_path, views=ViewSettings(flip=True, num_crops=1))
    with pytest.raises(InputError, match="views"):
        job(source, tmp_path, views=ViewSettings())


def test_other_pictures_under_the_same_keys_do_not_mix(tmp_path):
    """A run that was killed is not gone on with by another file of as many rows."""
    for name, first in (("one", 0), ("other", 16)):
        images = [{"bytes": png(first + row), "path": None} for row in range(16)]
        Dataset.from_dict({"image": images}, Features({"image": Image()})).to_parquet(tmp_path / f"{name}.parquet")
    one, other = (open_codes_source(str(tmp_path / f"{name}.parquet")) for name in ("one", "other"))
    job(one, tmp_path / "codes").encode_shard(0)
    with pytest.raises(InputError, match=r"pictures_sha256 \w+\.\.\., this run has \w+\.\.\.; choose another output"):
        job(other, tmp_path / "codes")
    made(job(one, tmp_path / "codes"), 0)
    with pytest.raises(InputError, match="pictures_sha256"):
        job(other, tmp_path / "codes")


@pytest.mark.parametrize("is_finished", [False, True])
def test_codes_of_versions_that_did_not_look_at_pictures(is_finished, pictures, tmp_path, monkeypatch):
    source = open_codes_source(str(pictures))
    identity = source.identity()
    with monkeypatch.context() as earlier:
        kept = {name: value for name, value in identity.items() if name != "pictures_sha256"}
        earlier.setattr(ImageSource, "identity", lambda self: kept)
        begun = job(source, tmp_path)
        made(begun, 0) if is_finished else begun.encode_shard(0)
    with pytest.raises(InputError, match=r"earlier version.*; delete data/train-\* to make the split again, or choose"):
        job(source, tmp_path)
    if is_finished:
        assert len(load_codes(tmp_path)) == made(job(source, tmp_path, split="test"), 0).splits["train"].rows


def test_splits_that_end_at_the_same_time_are_both_listed(pictures, tmp_path, monkeypatch):
    source = open_codes_source(str(pictures))
    jobs = [job(source, tmp_path, split=split, rows_per_shard=60) for split in ("train", "test")]
    for each in jobs:
        make_shards(each, Worker(tmp_path, each.split), 0)
    inner = CodesJob._summary

    def summary(self: CodesJob) -> SplitManifest:
        if self is jobs[0]:
            jobs[1].finish()  # another process, meanwhile
        return inner(self)

    monkeypatch.setattr(CodesJob, "_summary", summary)
    assert set(jobs[0].finish().splits) == set(CodesManifest.load(tmp_path).splits) == {"train", "test"}


def test_manifests_are_written_one_at_a_time(pictures, tmp_path):
    begun = job(open_codes_source(str(pictures)), tmp_path, rows_per_shard=60)
    make_shards(begun, Worker(tmp_path, "train"), 0)
    with ThreadPoolExecutor(1) as threads:
        with _one_at_a_time(tmp_path):
            ending = threads.submit(begun.finish)
            time.sleep(0.5)
            assert not ending.done()
        assert ending.result() == CodesManifest.load(tmp_path)


def test_captions_in_files_beside_the_pictures(tmp_path):
    files = {
        "a.png": png(1),
        "a.txt": "a cat\neine Katze\n",
        "b.png": png(2),
        "c.png": png(3),
        "c.txt": b"\xff\xfe\x00",
    }
    source = open_codes_source(str(write_files(tmp_path / "in", files)))
    manifest = write_codes(source, image_tokenizer(), processor(), tmp_path / "out")
    codes = load_codes(tmp_path / "out")
    assert [codes.captions(row) for row in range(2)] == [["a cat", "eine Katze"], [""]]
    assert manifest.splits["train"].failures == [{"key": "c.png", "reason": "its caption c.txt is not UTF-8"}]


def test_archives(tmp_path):
    for shard in range(2):
        files = {f"{index}.png": png(10 * shard + index) for index in range(3)}
        write_tar(tmp_path / "in" / f"{shard}.tar", files)
    source = open_codes_source(str(tmp_path / "in"))
    manifest = write_codes(source, image_tokenizer(), processor(), tmp_path / "out")
    split = manifest.splits["train"]
    assert (split.num_shards, split.input_rows, split.rows) == (2, 6, 6)
    assert split.failures == []
    assert load_codes(tmp_path / "out").keys[2:4] == ["0.tar/2", "1.tar/0"]


def test_corrected_captions_are_not_passed_over(tmp_path):
    def source(words):
        return open_codes_source(str(write_files(tmp_path / "pictures", {"a.png": png(0), "a.txt": words})))

    made(job(source("wrong"), tmp_path / "codes"), 0)
    with pytest.raises(InputError, match=r"captions_sha256 \w+\.\.\., this run has \w+\.\.\.; choose another output"):
        job(source("right"), tmp_path / "codes")
    assert load_codes(tmp_path / "codes").captions(0) == ["wrong"]


def test_captions_that_were_taken_away_are_not_passed_over(tmp_path):
    pictures = write_files(tmp_path / "pictures", {"a.png": png(0), "a.txt": "words"})
    made(job(open_codes_source(str(pictures)), tmp_path / "codes"), 0)
    (pictures / "a.txt").unlink()
    with pytest.raises(InputError, match=r"captions_sha256 .*this run has None; choose another output"):
        job(open_codes_source(str(pictures)), tmp_path / "codes")
