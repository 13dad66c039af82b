import json
import os
from dataclasses import replace

import pytest
import torch
from tiny_chain import image_tokenizer, processor

from pictogram.hub.errors import InputError
from pictogram.tokenizer.claims import WORK_FOLDER, Worker
from pictogram.tokenizer.codes_job import CodesJob, new_job
from pictogram.tokenizer.codes_status import read_status, write_job_size
from pictogram.tokenizer.codes_writer import make_shards, run_job
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.views import ViewSettings


@pytest.fixture
def job(tmp_path) -> CodesJob:
    torch.manual_seed(0)
    return new_job(
        load_image_source("embedded").select(range(10)),
        image_tokenizer(),
        processor(),
        tmp_path,
        split="train",
        rows_per_shard=4,
        batch_size=4,
        views=ViewSettings(),
    )


def test_from_the_first_shard_to_the_manifest(job):
    write_job_size(job)
    job.encode_shard(0)
    (job.path(2)).write_bytes(b"cut")
    with Worker(job.folder, "train") as worker:
        worker.take(1)
        worker.advance(4)
        worker.state.seconds = 2.0
        worker._tell()
        (status,) = read_status(job.folder)
        assert (status.num_shards, status.done, status.running, status.is_complete) == (3, 1, 1, False)
        assert (status.input_rows, status.pictures, status.failed) == (10, 4, 0)
        assert status.damaged == [job.path(2).name]
        assert (status.workers, status.pictures_per_second, status.seconds_left) == (1, 2.0, 3.0)
        worker.release(1)
        make_shards(job, worker, 0)
    job.finish()
    (status,) = read_status(job.folder)
    assert (status.done, status.running, status.damaged, status.is_complete) == (3, 0, [], True)
    assert (status.pictures, status.pictures_per_second, status.seconds_left) == (10, 0.0, None)


def test_workers_that_ended_without_a_word_are_lost(job):
    write_job_size(job)
    with Worker(job.folder, "train") as worker:
        worker.state.host = "elsewhere"
        worker._tell()
        os.utime(job.folder / WORK_FOLDER / f"{worker.name}.worker", (0, 0))
        (status,) = read_status(job.folder)
    assert (status.workers, status.lost_workers) == (0, 1)


def test_workers_of_another_split_are_not_counted(job):
    test = replace(job, split="test", _footers={})
    for each in (job, test):
        write_job_size(each)
    with Worker(job.folder, "test") as worker:
        worker.take(0)
        worker.advance(4)
        worker.state.seconds = 2.0
        worker._tell()
        found = {status.split: status for status in read_status(job.folder)}
    assert (found["train"].workers, found["train"].running, found["train"].pictures_per_second) == (0, 0, 0.0)
    assert (found["test"].workers, found["test"].running, found["test"].pictures_per_second) == (1, 1, 2.0)


def test_workers_of_versions_that_did_not_tell_their_split_count_for_all(job):
    write_job_size(job)
    with Worker(job.folder, "train") as worker:
        state = json.loads(json.dumps(vars(worker.state) | {"split": None}))
        del state["split"]
        (job.folder / WORK_FOLDER / f"{worker.name}.worker").write_text(json.dumps(state))
        (status,) = read_status(job.folder)
    assert status.workers == 1


def test_a_split_that_was_begun_is_told_of_when_another_is_done(job):
    test = replace(job, split="test", _footers={})
    write_job_size(test)
    test.encode_shard(0)
    run_job(job, lambda worker: make_shards(job, worker, 0))
    found = {status.split: (status.is_complete, status.done) for status in read_status(job.folder)}
    assert found == {"train": (True, 3), "test": (False, 1)}
    run_job(test, lambda worker: make_shards(test, worker, 0))
    assert not (job.folder / WORK_FOLDER).exists()


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(InputError, match="holds no codes"):
        read_status(tmp_path)
