"""`benchmarks/symbol_cost.py`: symbols that say what the finer codes would have had to say, and random ones."""

import importlib
import json
from pathlib import Path

import pytest
import torch

from pictogram.lm.model import PRIOR_SIZES, PriorSize

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def test_the_script(tmp_path, capsys):
    script = importlib.import_module("symbol_cost")
    reports = [tmp_path / "a.json", tmp_path / "b.json"]
    for report in reports:
        script.main(["--quick", "--json", str(report)])
    assert reports[0].read_bytes() == reports[1].read_bytes()
    assert json.loads(capsys.readouterr().out.split("\n}\n")[0] + "}") == json.loads(reports[0].read_text())


def test_a_telling_symbol_costs_little_and_a_random_one_all_its_bits(monkeypatch):
    script = importlib.import_module("symbol_cost")
    monkeypatch.setitem(PRIOR_SIZES, "tiny", PriorSize(64, 1, 64))
    codes = script.random_codes(4096 + 256)
    learned, scored = (tuple(level[part] for level in codes) for part in (slice(4096), slice(4096, 4096 + 256)))
    setting = script.Setting(size="tiny", num_steps=600, batch_size=64)
    report = script.measure(learned, scored, (4, 8), setting)
    assert report["none"]["symbol"] < 0.1
    assert abs(report["own"]["share"]["value"]) < 0.25
    assert 0.8 < report["random"]["share"]["value"] < 1.3


def test_what_finer_codes_leave_open():
    script = importlib.import_module("symbol_cost")
    codes = script.random_codes(4096 + 512)
    learned, scored = (tuple(level[part] for level in codes) for part in (slice(4096), slice(4096, 4608)))
    known = script.left_open(learned, scored, (4, 8), script.Setting())
    assert known["bits"] < 0.5 and known["accuracy"] > 0.85
    strangers = (learned[0][torch.randperm(4096)], learned[1])
    assert script.left_open(strangers, scored, (4, 8), script.Setting())["bits"] > 1.9
