"""The scripts of `benchmarks/` at tiny sizes: closed forms, orders that must hold, and whole runs."""

import importlib
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from pictogram import InputError

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def module(name):
    return importlib.import_module(name)


def pictures(count: int, size: int = 8, channels: int = 1, seed: int = 0) -> torch.Tensor:
    """Smooth random pictures: a ramp in a random direction with noise."""
    generator = torch.Generator().manual_seed(seed)
    slopes = torch.randn(count, 2, 1, 1, channels, generator=generator) * 12
    ramp = torch.arange(size) - size / 2
    clean = slopes[:, 0] * ramp.view(1, -1, 1, 1) + slopes[:, 1] * ramp.view(1, 1, -1, 1)
    noisy = 128 + clean + 4 * torch.randn(count, size, size, channels, generator=generator)
    return noisy.round().clamp(0, 255).to(torch.uint8)


@pytest.fixture
def small():
    return module("patches").Pictures(pictures(400), pictures(100, seed=1))


def assert_rises(points):
    """More bytes, more dB."""
    assert len(points) > 1
    assert [p.psnr for p in sorted(points, key=lambda p: p.bytes)] == sorted(p.psnr for p in points)


def test_patches_tile_in_raster_order():
    patches = module("patches").to_patches(torch.arange(16, dtype=torch.uint8).view(1, 4, 4, 1), 2, 2)
    assert patches.tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]]
    with pytest.raises(InputError, match="3x2 do not tile pictures of 4x4"):
        module("patches").to_patches(torch.zeros(1, 4, 4, 1), 3, 2)


def test_the_error_is_that_of_8_bit_values():
    squared_error = module("patches").squared_error
    assert squared_error(torch.tensor([0, 255, 7], dtype=torch.uint8), torch.tensor([-9.0, 300.0, 9.4])) == 4


def test_static_code_of_a_known_histogram():
    code = module("static_code")
    values = torch.tensor([0] * 512 + [1] * 256 + [2] * 256).repeat(64).unsqueeze(1)
    assert code.entropy_bits(values) == pytest.approx(1.5)
    assert code.StaticCode(values).bits(values) == pytest.approx(1.5, abs=1e-4)


def test_every_integer_has_a_code_word_and_all_together_at_most_one():
    values = torch.tensor([[3], [4], [4], [6]])
    code = module("static_code").StaticCode(values)
    lengths = torch.tensor([code.bits(torch.tensor([[value]])) for value in range(-2000, 2000)])
    assert bool(lengths.isfinite().all())
    total = float((2.0 ** -lengths.double()).sum())
    assert 0.99 < total <= 1 + 1e-6  # Kraft; the rest is for integers farther away
    with_escape = -math.log2(0.1 / 4.5) + 1  # and the sign, then Elias gamma
    assert lengths[2000 + 7] == pytest.approx(with_escape + 1)
    assert lengths[2000 - 1] == pytest.approx(with_escape + 5)  # 4 below the range


def test_positions_have_histograms_of_their_own():
    static_code = module("static_code")
    values = torch.stack([torch.zeros(1000), torch.full((1000,), 9.0)], 1)
    assert static_code.entropy_bits(values) == 0
    assert static_code.StaticCode(values).bits(values) < 1e-3


def test_klt_of_independent_gaussians_finds_the_axes():
    klt = module("klt")
    deviations = torch.tensor([1.0, 4.0, 2.0])
    points = torch.randn(20000, 3, generator=torch.Generator().manual_seed(0)) * deviations + 5
    found = klt.fit_klt(points)
    assert found.basis.abs().round().tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert torch.allclose(found.forward(points).std(0), torch.tensor([4.0, 2.0, 1.0]), rtol=0.02)
    assert torch.allclose(found.inverse(found.forward(points)), points, atol=1e-4)


def test_klt_reaches_the_rate_and_distortion_of_fine_uniform_quantizers():
    """Of Gaussians, h - log2(step) bits at step^2 / 12, in every coefficient (Gish & Pierce 1968)."""
    generator = torch.Generator().manual_seed(0)
    deviations = torch.tensor([10.0, 20.0, 15.0, 12.0])
    draws = deviations * torch.randn(40000, 4, generator=generator)
    rotation = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    values = (128 + draws @ rotation).clamp(0, 255).round().to(torch.uint8)
    sets = module("patches").Pictures(*values.view(2, 20000, 2, 2, 1))
    (point,) = module("klt").klt_points(sets, 2, 2, [8.0])
    bits = float((0.5 * (2 * math.pi * math.e * deviations.square()).log2() - 3).sum())
    assert point.bytes == pytest.approx(bits / 8, rel=0.01)
    assert point.own_histogram_bytes == pytest.approx(point.bytes, rel=0.01)
    error = 8**2 / 12 + 1 / 12  # the last by rounding to 8 bits
    assert point.psnr == pytest.approx(10 * math.log10(255**2 / error), abs=0.05)


def test_klt_refuses_blocks_that_take_hours():
    big = torch.zeros(2, 72, 72, 1, dtype=torch.uint8)
    with pytest.raises(InputError, match="4096 values is feasible, got 5184"):
        list(module("klt").klt_points(module("patches").Pictures(big, big), 72, 72, [8.0]))


def test_vq_of_few_distinct_patches_is_lossless():
    kinds = torch.tensor([10, 80, 160, 240], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 4, 4, 1)
    sets = module("patches").Pictures(kinds.repeat(64, 1, 1, 1), kinds.repeat(8, 1, 1, 1))
    for per_place, symbols in ((True, 4), (False, 4)):
        (point,) = module("patch_vq").patch_vq_points(sets, (2, 2), 4, [0], per_place=per_place, max_points=2000)
        assert point.psnr == math.inf
        assert point.own_histogram_bytes == pytest.approx(symbols * 2 / 8)  # four codes of 2 bits
        assert point.bytes == pytest.approx(symbols * 2 / 8, abs=0.01)


def test_without_a_weight_the_nearest_code_is_taken():
    codebook = module("patch_vq").Codebook(torch.tensor([[0.0], [10.0]]), torch.tensor([1.0, 5.0]))
    points = torch.tensor([[4.9], [5.1], [5.3]])
    assert codebook.assign(points, 0).tolist() == [0, 1, 1]
    # The border between 0 and 10 moves by weight * (5 - 1) / (2 * 10).
    assert codebook.assign(points, 1).tolist() == [0, 0, 1]


def test_ecvq_lowers_its_cost_on_what_it_learns_from():
    patch_vq, evaluation = module("patch_vq"), []
    points = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) * 20
    weights = (0, 50, 200)
    books = list(patch_vq.fit_codebooks(points, 16, weights, 10, seed=0))
    for weight, book in zip(weights, books, strict=True):
        costs = []
        for other, known in zip(weights, books, strict=True):
            codes = known.assign(points, other)
            error = float((points - known.vectors[codes]).square().sum(1).mean())
            costs.append(error + weight * float(known.bits[codes].mean()))
        evaluation.append(costs)
        assert float((2.0**-book.bits).sum()) == pytest.approx(1)
    assert [min(range(3), key=costs.__getitem__) for costs in evaluation] == [0, 1, 2]


@pytest.mark.parametrize("per_place", [True, False])
def test_curves_rise(small, per_place):
    assert_rises(list(module("klt").klt_points(small, 8, 8, [4, 16, 64])))
    measure = module("patch_vq").patch_vq_points
    points = [measure(small, (4, 4), size, [0], per_place=per_place, max_points=1600)[0] for size in (2, 8, 32)]
    assert_rises(points)


@pytest.mark.parametrize("channels", [1, 3])
def test_files_rise_and_sheets_spare_headers(channels):
    files = module("image_files")
    shown = pictures(12, size=16, channels=channels)
    for file_format in files.formats(channels):
        for measure in (files.single_files, files.sheet):
            sizes, decibels = zip(*(measure(shown, file_format, quality) for quality in (10, 90)), strict=True)
            assert list(sizes) == sorted(sizes) and list(decibels) == sorted(decibels)
        whole = sum(len(file_format.encode(picture, 50)) for picture in shown) / len(shown)
        assert files.sheet(shown, file_format, 50)[0] < whole


def test_a_sheet_is_pictures_row_by_row():
    tiled = module("image_files").tile(torch.arange(7, dtype=torch.uint8).view(7, 1, 1, 1).expand(7, 2, 2, 1))
    assert tiled[::2, ::2, 0].tolist() == [[0, 1], [2, 3], [4, 5]]


def test_frontier_and_interpolation():
    curves = module("curves")
    points = [curves.Point("a", "", *values) for values in ((40, 26.0), (10, 20.0), (50, 25.0), (10, 19.0))]
    assert [(p.bytes, p.psnr) for p in curves.frontier(points)] == [(10, 20.0), (40, 26.0)]
    assert curves.interpolate(points, 20) == pytest.approx(23.0)
    assert [curves.interpolate(points, rate) for rate in (10, 40)] == [20.0, 26.0]
    assert curves.interpolate(points, 9.9) is None and curves.interpolate(points, 40.1) is None


def test_a_frontier_leaves_out_what_a_mixture_of_two_settings_beats():
    curves = module("curves")
    errors = {10: 300.0, 20: 290.0, 30: 100.0, 40: 90.0}
    points = [curves.Point("a", "", rate, 10 * math.log10(255**2 / error)) for rate, error in errors.items()]
    assert [point.bytes for point in curves.frontier(points)] == [10, 30, 40]
    perfect = curves.Point("a", "", 50, math.inf)
    assert curves.frontier([*points, perfect])[-1] is perfect


def test_a_tokenizer_is_compared_prefix_by_prefix():
    curves = module("curves")
    baselines = [curves.Point("a", "", 10, 20.0), curves.Point("a", "", 40, 26.0), curves.Point("b", "", 20, 21.0)]
    ours = curves.tokenizer_points({"psnr": [15.0, 24.0, None], "position_bits": [8.0, 152.0, 1.0]}, "ours")
    assert [(point.bytes, point.psnr) for point in ours] == [(1.0, 15.0), (20.0, 24.0)]
    gains = curves.compare(ours, baselines)
    assert gains[0].decibels == {"a": None, "b": None}
    assert gains[1].decibels == {"a": pytest.approx(1.0), "b": pytest.approx(3.0)}
    assert curves.comparison_table(gains).splitlines()[-1] == "| ours, 2 levels | 20.00 | 24.00 | +1.00 | +3.00 |"


def test_a_tokenizer_pays_for_its_held_out_codes():
    results = {"psnr": [15.0, 24.0], "position_bits": [4.0, 8.0]}
    results |= {"reference_bits": [16.0, 24.0], "reference_position_bits": [8.0, 32.0]}
    points = module("curves").tokenizer_points(results, "ours")
    assert [(point.bytes, point.own_histogram_bytes) for point in points] == [(1.0, 0.5), (4.0, 1.5)]
    missing = results | {"reference_bits": None, "reference_position_bits": None}
    assert [point.bytes for point in module("curves").tokenizer_points(missing, "ours")] == [0.5, 1.5]


def test_results_of_something_else_are_refused():
    curves = module("curves")
    with pytest.raises(InputError, match="'position_bits'"):
        curves.tokenizer_points({"psnr": [1.0]}, "ours")
    with pytest.raises(InputError, match="psnr of 2 levels and bits of 1"):
        curves.tokenizer_points({"psnr": [1.0, 2.0], "position_bits": [1.0]}, "ours")


@pytest.fixture
def folder(tmp_path):
    """A folder with the splits train and test, grey pictures of 8x8 pixels."""
    for seed, (split, count) in enumerate((("train", 40), ("test", 16))):
        (tmp_path / "data" / split).mkdir(parents=True)
        for index, picture in enumerate(pictures(count, seed=seed)):
            Image.fromarray(picture.squeeze(-1).numpy()).save(tmp_path / "data" / split / f"{index:02d}.png")
    return tmp_path / "data"


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


def test_the_plot(folder, tmp_path):
    pytest.importorskip("matplotlib", reason="only --plot needs it")
    curves = module("curves")
    points = [curves.Point("a", "", 10, 20.0), curves.Point("a", "", 40, 26.0)]
    curves.plot(points, points[:1], tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").size == (960, 720)


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
