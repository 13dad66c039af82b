import os

import pytest
import torch
from tiny_chain import image_tokenizer, processor

from pictogram.hub.errors import InputError
from pictogram.tokenizer.claims import WORK_FOLDER, Worker
from pictogram.tokenizer.codes_job import CodesJob, new_job
from pictogram.tokenizer.codes_status import read_status, write_job_size
from pictogram.tokenizer.codes_writer import make_shards
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


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(InputError, match="holds no codes"):
        read_status(tmp_path)
