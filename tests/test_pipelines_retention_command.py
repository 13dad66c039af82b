"""`pictogram symbols retention` from the command line."""

import json
import sys

import pytest
from tiny_adaptation import new_folder, old_folder, tokenizer_folder

from pictogram.hub.command_line import run_command
from pictogram.pipelines.retention_command import retention

pytest.importorskip("matplotlib")


@pytest.fixture
def call(monkeypatch):
    def run(*arguments: str) -> int:
        shared = ["--from", str(tokenizer_folder()), "--data", str(new_folder()), "--num-steps", "2"]
        shared += ["--new-codes", "1,2,3", "--batch-size", "8", "--full-learning-rates", "0.01"]
        monkeypatch.setattr(sys, "argv", ["retention", *shared, *arguments])
        with pytest.raises(SystemExit) as exit_:
            run_command(retention)
        assert isinstance(exit_.value.code, int)
        return exit_.value.code

    return run


def test_a_table_a_file_and_a_plot(call, tmp_path, capsys):
    assert call("--reference", str(old_folder()), "--modes", "full,grow", "--out", str(tmp_path / "out")) == 0
    out = capsys.readouterr().out
    assert "before" in out and "full" in out and "grow" in out and "gain" in out and "…" not in out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["retention.json", "retention.png"]


def test_tasks_are_tables(call, capsys):
    assert call("--tasks", "0,1", "--modes", "grow") == 0
    out = capsys.readouterr().out
    assert "grow, seed 0: PSNR in dB" in out and "backward transfer" in out


def test_json(call, capsys):
    assert call("--classes", "0", "--new-classes", "1", "--modes", "lora", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["runs"][0]["mode"] == "lora" and report["protocol"]["classes"] == "0"


def test_mistakes_are_one_line(call, capsys):
    assert call("--classes", "0", "--new-classes", "7") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "there are the classes 0 to 1, got 7" in err
