"""`benchmarks/scaling.py` and the law it fits."""

import importlib
import json
from pathlib import Path

import pytest
import torch
from PIL import Image

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


def test_sizes_may_be_widths_and_depths(tmp_path):
    script = importlib.import_module("scaling")
    script.main([*arguments(tmp_path)[:2], "64x1,64x2", *arguments(tmp_path)[3:], "--epochs", "1"])
    found = json.loads((tmp_path / "report.json").read_text())["points"]
    assert [point["size"] for point in found] == ["64x1", "64x2"]
    layer = 64 * 64 * 2 + 2 * 64 * 64 + 3 * 64 * 176 + 2 * 64 + 2 * 64  # q, o; k, v; gated MLP; norms of both kinds
    assert found[1]["parameters"] - found[0]["parameters"] == layer


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ("40x2", "hidden_size must be a multiple of 64, got 40"),
        ("64x0", "num_hidden_layers must be at least 1, got 0"),
        ("64x", "size must be one of pico, nano, small, base, large, tiny, got '64x'"),
    ],
)
def test_shapes_that_are_none(tmp_path, capsys, size, message):
    with pytest.raises(SystemExit):
        importlib.import_module("scaling").main([*arguments(tmp_path)[:2], size, *arguments(tmp_path)[3:]])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "give --codes and --tokenizer, or --quick"),
        (["--codes", "c", "--tokenizer", "t", "--test-split", "train"], "split and test_split must differ"),
    ],
)
def test_what_it_cannot_do(tmp_path, capsys, more, message):
    with pytest.raises(SystemExit):
        importlib.import_module("scaling").main(["--work", str(tmp_path / "work"), *more])
    assert message in capsys.readouterr().err


def test_a_report_as_a_picture(tmp_path):
    script, found = importlib.import_module("scaling_plot"), points(0.0)
    report = {
        "points": [point | {"size": f"{point['parameters'] / 1e6}"} for point in found],
        "law": importlib.import_module("scaling_law").fit_law(found),
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    script.main([str(tmp_path / "report.json"), str(tmp_path / "law.png")])
    with Image.open(tmp_path / "law.png") as picture:
        assert picture.width > 500 and picture.convert("L").getextrema() == (0, 255)
    codes, bits = script.curve(report["law"], script.by_size(report["points"])["0.4"])
    assert (codes[0], codes[-1]) == pytest.approx((2.7, 10.8))  # what was measured, and no further
    assert bits[0] == pytest.approx(150 + 20 * 0.4**-0.5 + 40 * 2.7**-0.4, rel=1e-3)


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
