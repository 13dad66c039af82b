import json
import time

import pytest

from pictogram.pipelines import stages as module
from pictogram.pipelines.stages import Stages


def stored(folder) -> dict:
    return json.loads((folder / "stages.json").read_text())


def test_each_stage_has_its_time_and_memory(tmp_path, capsys):
    stages = Stages(tmp_path)
    with stages.stage("first", "1/2 first"):
        time.sleep(0.15)
    with stages.stage("second", "2/2 second"):
        pass
    costs = stages.costs
    assert list(costs) == ["first", "second"]
    assert 0.1 <= costs["first"]["seconds"] < 5
    assert all(10 < cost["peak_memory_mb"] < 100_000 for cost in costs.values())
    assert Stages(tmp_path).costs == costs
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.splitlines() == ["1/2 first", "2/2 second"]


def test_memory_that_was_freed_again_counts(tmp_path):
    stages = Stages(tmp_path)
    with stages.stage("small", "small"):
        pass
    with stages.stage("large", "large"):
        block = b"1" * 300_000_000
        time.sleep(0.3)
        del block
    assert stages.costs["large"]["peak_memory_mb"] > stages.costs["small"]["peak_memory_mb"] + 200


def test_a_stage_done_before_runs_again_at_no_cost(tmp_path, capsys):
    with Stages(tmp_path).stage("only", "working"):
        time.sleep(0.1)
    before, ran = stored(tmp_path), []
    with Stages(tmp_path).stage("only", "working"):
        ran.append(1)
        time.sleep(0.2)
    assert ran == [1]
    assert stored(tmp_path) == before
    assert "working (done before)" in capsys.readouterr().err


def test_time_of_a_run_that_failed_is_added(tmp_path):
    with pytest.raises(RuntimeError), Stages(tmp_path).stage("only", "working"):
        time.sleep(0.25)
        raise RuntimeError
    assert stored(tmp_path)["only"]["done"] is False
    assert Stages(tmp_path).costs == {}
    with Stages(tmp_path).stage("only", "working"):
        time.sleep(0.25)
    assert Stages(tmp_path).costs["only"]["seconds"] >= 0.4


def test_time_of_a_run_that_was_killed_is_added_up_to_the_last_save(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SAVING_SECONDS", 0.1)
    with Stages(tmp_path).stage("only", "working"):
        time.sleep(0.7)
        killed = (tmp_path / "stages.json").read_text()  # what a kill at this moment would leave
    assert json.loads(killed)["only"]["done"] is False
    assert json.loads(killed)["only"]["seconds"] >= 0.2
    (tmp_path / "stages.json").write_text(killed)
    with Stages(tmp_path).stage("only", "working"):
        time.sleep(0.2)
    assert Stages(tmp_path).costs["only"]["seconds"] >= 0.4
