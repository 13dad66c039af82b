"""`benchmarks/scaling.py` and the law it fits."""

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
    monkeypatch.setitem(PRIOR_SIZES, "tiny", PriorSize(64, 1, 64))


def points(noise: float) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for parameters in (0.4e6, 1.3e6, 3.5e6, 6.9e6):
        for codes in (2.7e6, 5.4e6, 10.8e6):
            bits = 150 + 20 * (parameters / 1e6) ** -0.5 + 40 * (codes / 1e6) ** -0.4
            bits *= 1 + noise * float(torch.randn(1, generator=generator))
            found.append({"parameters": parameters, "codes_seen": codes, "bits": {"value": bits}})
    return found


def test_a_known_law_is_found_again():
    law = importlib.import_module("scaling_law").fit_law(points(0.0))
    assert law["E"] == pytest.approx(150, rel=0.02)
    assert law["alpha"] == pytest.approx(0.5, rel=0.1) and law["beta"] == pytest.approx(0.4, rel=0.1)
    assert law["worst_residual"] < 1e-3


def test_noise_shows_in_the_residuals():
    law = importlib.import_module("scaling_law").fit_law(points(0.01))
    assert 0.003 < law["worst_residual"] < 0.05
    assert len(law["residuals"]) == 12


def arguments(folder: Path) -> list[str]:
    return ["--quick", "--sizes", "tiny", "--work", str(folder / "work"), "--json", str(folder / "report.json")]


def test_the_same_again_and_after_a_kill(tmp_path, monkeypatch):
    script = importlib.import_module("scaling")
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    script.main(arguments(tmp_path / "whole"))
    score, seen = script.score, []

    def dies(*given):
        seen.append(1)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return score(*given)

    monkeypatch.setattr(script, "score", dies)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments(tmp_path / "killed"))
    script.main(arguments(tmp_path / "killed"))
    reports = [(tmp_path / name / "report.json").read_bytes() for name in ("whole", "killed")]
    assert reports[0] == reports[1]
    found = json.loads(reports[0])["points"]
    assert [(point["epochs"], point["steps"]) for point in found] == [(1, 3), (2, 6), (4, 12)]
    assert [point["codes_seen"] for point in found] == [3 * 64 * 5, 6 * 64 * 5, 12 * 64 * 5]


def test_a_branch_is_what_training_for_its_length_alone_gives(tmp_path):
    script = importlib.import_module("scaling")
    for name, epochs in (("all", "1,2"), ("one", "2")):
        script.main([*arguments(tmp_path / name), "--epochs", epochs])
    found = [json.loads((tmp_path / name / "report.json").read_text())["points"][-1] for name in ("all", "one")]
    assert found[0] == found[1]


def test_a_folder_keeps_one_run(tmp_path, monkeypatch, capsys):
    script = importlib.import_module("scaling")
    random_codes = script.random_codes
    script.main(arguments(tmp_path))
    with pytest.raises(SystemExit):
        script.main([*arguments(tmp_path), "--seed", "1"])
    assert "holds another run" in capsys.readouterr().err
    monkeypatch.setattr(script, "random_codes", lambda count: tuple(level * 0 for level in random_codes(count)))
    with pytest.raises(SystemExit):
        script.main(arguments(tmp_path))
    assert "holds another run" in capsys.readouterr().err


def test_one_training_cannot_go_back(tmp_path, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module("scaling").main([*arguments(tmp_path), "--epochs", "2,1"])
    assert "epochs must ascend, as one training goes through all of them, got (2, 1)" in capsys.readouterr().err
