"""The scripts of `benchmarks/` at tiny sizes: closed forms, orders that must hold, and whole runs."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch
from tiny_pictures import smooth_folder

from pictogram import InputError
from pictogram.pipelines.curve_points import Point

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def module(name):
    return importlib.import_module(name)


def test_a_tokenizer_is_compared_prefix_by_prefix():
    curves = module("gains")
    baselines = [Point("a", "", 10, 20.0), Point("a", "", 20, 23.0), Point("b", "", 20, 21.0)]
    ours = curves.tokenizer_points({"psnr": [15.0, 24.0, None], "position_bits": [8.0, 152.0, 1.0]}, "ours")
    assert [(point.bytes, point.psnr) for point in ours] == [(1.0, 15.0), (20.0, 24.0)]
    gains = curves.compare(ours, baselines)
    assert gains[0].decibels == {"a": None, "b": None}
    assert gains[1].decibels == {"a": pytest.approx(1.0), "b": pytest.approx(3.0)}
    assert curves.comparison_table(gains).splitlines()[-1] == "| ours, 2 levels | 20.00 | 24.00 | +1.00 | +3.00 |"


def test_a_tokenizer_pays_for_its_held_out_codes():
    results = {"psnr": [15.0, 24.0], "position_bits": [4.0, 8.0]}
    results |= {"reference_bits": [16.0, 24.0], "reference_position_bits": [8.0, 32.0]}
    points = module("gains").tokenizer_points(results, "ours")
    assert [(point.bytes, point.own_histogram_bytes) for point in points] == [(1.0, 0.5), (4.0, 1.5)]
    missing = results | {"reference_bits": None, "reference_position_bits": None}
    assert [point.bytes for point in module("gains").tokenizer_points(missing, "ours")] == [0.5, 1.5]


def test_results_of_something_else_are_refused():
    curves = module("gains")
    with pytest.raises(InputError, match="'position_bits'"):
        curves.tokenizer_points({"psnr": [1.0]}, "ours")
    with pytest.raises(InputError, match="psnr of 2 levels and bits of 1"):
        curves.tokenizer_points({"psnr": [1.0, 2.0], "position_bits": [1.0]}, "ours")


@pytest.fixture
def folder(tmp_path):
    return smooth_folder(tmp_path / "data")


@pytest.mark.parametrize("layout", ["aligned", "crops"])
def test_the_script(folder, tmp_path, capsys, layout):
    results = tmp_path / "ours.json"
    results.write_text(json.dumps({"psnr": [20.0, 25.0], "position_bits": [40.0, 80.0]}), encoding="utf-8")
    report = tmp_path / "report.json"
    arguments = ["--data", str(folder), "--layout", layout, "--quick", "--json", str(report)]
    module("baselines").main([*arguments, "--tokenizer", str(results)])
    written = json.loads(report.read_text(encoding="utf-8"))
    assert written["num_train"] == 40 and written["num_test"] == 16
    assert {"klt", "patch vq", "jpeg", "webp"} <= {point["codec"] for point in written["points"]}
    assert [gain["point"]["bytes"] for gain in written["gains"]] == [5.0, 15.0]
    assert "| ours, 1 levels | 5.00 | 20.00 |" in capsys.readouterr().out


def test_a_user_mistake_is_one_line(tmp_path):
    with pytest.raises(SystemExit, match=r"error: .*nowhere does not exist"):
        module("baselines").main(["--data", str(tmp_path / "nowhere")])
    assert str(BENCHMARKS) in sys.path


def test_recognition_counts_what_is_strictly_nearer():
    ranks = module("recognition").ranks
    originals = torch.tensor([[0.0], [10.0], [10.0], [30.0]]).view(4, 1, 1, 1)
    reconstructions = torch.tensor([[4.0], [12.0], [9.0], [12.0]]).view(4, 1, 1, 1)
    # An equal picture does not count against its twin; the last one is nearer to all others than to itself.
    assert ranks(reconstructions, originals, torch.arange(4)).tolist() == [0, 0, 0, 3]


def test_recognition_of_a_tokenizer(tmp_path, monkeypatch, capsys):
    import tiny_chain

    arguments = ["--model", str(tiny_chain.tokenizer_folder()), "--data", "embedded", "--splits", "test"]
    picture = tmp_path / "hardest.png"
    monkeypatch.setattr(sys, "argv", ["recognition.py", *arguments, "--group", "category", "--picture", str(picture)])
    module("recognition").main()
    found = json.loads(capsys.readouterr().out)
    assert found["candidates"] == found["splits"]["test"]["num_images"] == 100
    assert len(found["splits"]["test"]["psnr_by_group"]) == 9
    assert len(found["failures"]) == round(100 * (1 - found["splits"]["test"]["recognised"]))
    assert picture.is_file()


def test_tokenizers_in_turns_write_the_same_codes(tmp_path, monkeypatch):
    tokenizer = module("tokenizer")
    # A process of its own for every arm would take the time of all other tests together.
    monkeypatch.setattr(tokenizer, "memory", lambda part, arms, options: dict.fromkeys(arms, 1.0))
    tokenizer.main(["--quick", "--threads", str(torch.get_num_threads()), "--json", str(tmp_path / "out.json")])
    report = json.loads((tmp_path / "out.json").read_text())
    assert set(report["encode"]["arms"]) == {"plain", "plain_without_one_hot", "adapted", "preset"}
    assert set(report["train"]["arms"]) == {"plain", "preset"}
    assert report["encode"]["identical_codes"] == 1
    assert min(report["encode"]["distinct_codes"]) > 8
    work = {name: arm["multiply_adds_per_image"] for name, arm in report["encode"]["arms"].items()}
    assert work["adapted"] == work["plain"]
    for quantizer in report["quantizer"]:
        assert quantizer["skipped"] or quantizer["identical_codes"] > 0.99
        assert quantizer["arms"]["ours_train_backward"]["seconds"] > 0
    assert all(rate > 0 for rate in report["gflops"].values())


def test_muon_beside_torchs(tmp_path):
    muon = module("muon")
    muon.main(["--quick", "--threads", str(torch.get_num_threads()), "--json", str(tmp_path / "out.json")])
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["orthogonalised_in"] in ("float32", "bfloat16")
    assert report["pico"]["matrices"] == len(muon.shapes("pico")) > 0
    assert min(report["pico"][arm]["cpu_seconds"] for arm in ("ours", "torch")) > 0
    assert all(map(torch.equal, *([p.grad for p in muon.matrices([(2, 3), (4, 1)])] for _ in range(2))))


def test_arms_take_turns():
    turns: list[str] = []
    times = module("interleaved").measure({name: lambda name=name: turns.append(name) for name in "ab"}, 2)
    assert turns == list("ababab")
    assert set(times["a"]) == {"seconds", "cpu_seconds"}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux keeps the peak that is read")
def test_memory_is_that_of_the_largest_tensor():
    megabyte = 1 << 20
    found = module("interleaved").extra_memory(lambda: torch.ones(64 * megabyte, dtype=torch.uint8))
    assert 60 * megabyte < found < 80 * megabyte


def test_pictures_become_codes_at_tiny_sizes(tmp_path):
    tokenize_images = module("tokenize_images")
    tokenize_images.main(["--quick", "--parts", "speed", "reading", "--json", str(tmp_path / "out.json")])
    report = json.loads((tmp_path / "out.json").read_text())
    assert set(report["speed"]["pictures_per_second"]) == {"whole", "encode", "loop", "decode"}
    assert 0 < report["speed"]["share_of_model"] < 1.5
    assert report["reading"]["bytes_per_code"] < 8  # 64 rows: what a file holds besides them is not small
    assert tokenize_images.memory_of(4) >= 0  # in a process that has worked before, memory that was freed hides it
