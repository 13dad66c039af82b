import os
import subprocess
import sys
import time

import pytest

from pictogram.tokenizer import claims
from pictogram.tokenizer.claims import WORK_FOLDER, Worker, is_gone, read_state


def test_two_living_workers_never_hold_one_shard(tmp_path):
    with Worker(tmp_path, "train") as first, Worker(tmp_path, "train") as second:
        assert first.take(0) and not second.take(0)
        assert second.take(1) and not first.take(1)
        assert (first.state.shard, second.state.shard) == (0, 1)
        first.release(0)
        assert second.take(0)
        with Worker(tmp_path, "test") as other_split:
            assert other_split.take(0)


def test_nothing_is_left_of_a_worker_that_ends_well(tmp_path):
    with Worker(tmp_path, "train") as worker:
        worker.take(0)
        worker.release(0)
    assert list((tmp_path / WORK_FOLDER).iterdir()) == []


def test_the_claims_of_a_killed_process_are_taken_over_at_once(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from pictogram.tokenizer.claims import Worker\n"
        "worker = Worker(Path(sys.argv[1]), 'train'); worker.__enter__(); worker.take(0); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -9
    file = next((tmp_path / WORK_FOLDER).glob("*.worker"))
    state = read_state(file)
    assert state is not None and state.shard == 0 and is_gone(state)
    with Worker(tmp_path, "train") as worker:
        assert worker.take(0)


def test_a_silent_worker_of_another_machine_loses_its_claims(tmp_path):
    absent, worker = Worker(tmp_path, "train"), Worker(tmp_path, "train", stale_after=100)
    absent.state.host = "elsewhere"
    absent.__enter__()
    try:
        assert absent.take(0)
        file = next((tmp_path / WORK_FOLDER).glob("*.worker"))
        with worker:
            assert not worker.take(0)
            hour_ago = time.time() - 3600
            os.utime(file, (hour_ago, hour_ago))
            assert worker.take(0)
    finally:
        absent.__exit__()


def test_a_worker_says_again_and_again_that_it_is_alive(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_HEARTBEAT", 0.01)
    with Worker(tmp_path, "train") as worker:
        file = tmp_path / WORK_FOLDER / f"{worker.name}.worker"
        os.utime(file, (0, 0))
        worker.advance(3)
        deadline = time.monotonic() + 10
        while file.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        state = read_state(file)
    assert state is not None and state.pictures == 3


@pytest.mark.parametrize("owner", ["", "nobody-1-abc"])
def test_a_claim_without_a_worker_is_free_in_time(owner, tmp_path):
    with Worker(tmp_path, "train") as worker:
        claim = tmp_path / WORK_FOLDER / "train-00000.claim"
        claim.write_text(owner)
        os.utime(claim, (0, 0))
        assert worker.take(0)
