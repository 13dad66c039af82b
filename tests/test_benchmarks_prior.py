"""The baselines of `benchmarks/prior_baselines.py`: what they may see, closed forms, and whole runs."""

import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pictogram import InputError
from pictogram.tokenizer.codes_dataset import write_codes
from pictogram.tokenizer.images import load_image_source

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
GRIDS = ((1, 1), (2, 2), (4, 4))
SIZES = (3, 5, 7)
NUM_CAPTIONS = 2
NUM_CODES = 1 + 4 + 16


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def module(name):
    return importlib.import_module(name)


def codes(count: int, seed: int = 0) -> tuple[tuple[torch.Tensor, ...], torch.Tensor]:
    """Codes that follow from their parents four times in five, and captions (B,) that tell the whole-image code."""
    generator = torch.Generator().manual_seed(seed)
    levels = [torch.randint(SIZES[0], (count, 1, 1), generator=generator)]
    for (rows, cols), size in zip(GRIDS[1:], SIZES[1:], strict=True):
        parents = levels[-1].repeat_interleave(2, 1).repeat_interleave(2, 2)
        noise = torch.randint(size, (count, rows, cols), generator=generator)
        follows = torch.rand(count, rows, cols, generator=generator) < 0.8
        levels.append(torch.where(follows, (parents + 1) % size, noise))
    return tuple(levels), 1 + levels[0].flatten() % NUM_CAPTIONS


def documents(order: str, count: int, seed: int = 0) -> np.ndarray:
    return module("code_contexts").document_table(codes(count, seed)[0], order, codes(count, seed)[1])


def contexts(order: str, level: int, num_captions: int = NUM_CAPTIONS):
    return module("code_contexts").LevelContexts(GRIDS, SIZES, order, level, num_captions)


def static(known, train, validation):
    return module("code_histograms").Histograms(known, [known.position(), known.caption()], train, validation)


def mlp(known, train, validation, minutes=1e-3):
    return module("neighbour_mlp").fit_mlp(known, train, validation, minutes=minutes, seed=0).model


def mixing(known, train, validation, steps=10):
    return module("context_mixing").ContextMixing(known, train, validation, steps=steps, seed=0)


FITS = {"static": static, "mlp": mlp, "mixing": mixing}


@pytest.fixture(params=FITS)
def fit(request):
    return FITS[request.param]


def test_a_table_holds_documents_and_captions():
    table = module("code_contexts").document_table(
        (torch.tensor([[[4]]]), torch.tensor([[[0, 1], [2, 3]]])), "level", torch.tensor([9])
    )
    assert table.tolist() == [[0, 5, 1, 2, 3, 4, 9]]


@pytest.mark.parametrize(
    ("order", "columns"),
    [("level", {15, 12, 11, 13, 14, 8, 9, 10}), ("pyramid", {14, 10, 6, 11, 16, 13, 8, 15})],
)
def test_the_eight_nearest_known_codes(order, columns):
    known = contexts(order, 2)
    place = known.columns.tolist().index({"level": 16, "pyramid": 18}[order])  # row 2, column 2 of 4x4
    found = [int(slot.columns[place]) for slot in known.neighbours(8)]
    assert {column for column in found if column} == columns


def test_coarser_codes_are_known_in_level_order_and_one_by_one_in_pyramid_order():
    (third,) = [contexts("level", 2).columns.tolist().index(column) for column in [6 + 2 * 4]]  # row 2, column 0
    around = [slot.columns[third] for slot in contexts("level", 2).around_ancestor(1)]
    assert {int(column) for column in around if column} == {2, 3, 4, 5}
    first = [slot.columns[0] for slot in contexts("pyramid", 2).around_ancestor(1)]
    assert {int(column) for column in first if column} == {2}


def test_the_parents_that_a_code_faces():
    known = contexts("level", 2)
    assert known.facing(1, rows=False, cols=True).columns.tolist() == [0, 3, 2, 0] * 2 + [0, 5, 4, 0] * 2
    assert known.facing(1, rows=True, cols=False).columns.tolist() == [0] * 4 + [4, 4, 5, 5, 2, 2, 3, 3] + [0] * 4
    assert known.facing(0, rows=True, cols=True).columns.tolist() == [0] * 16


def test_pyramid_order_knows_finer_codes_of_the_blocks_before():
    assert contexts("level", 1).around_descendants(2) == []
    known = contexts("pyramid", 1)
    last = [int(slot.columns[3]) for slot in known.around_descendants(2)]
    assert {column for column in last if column} == {6, 10, 11, 14, 16}  # above, and to the left


def test_every_context_is_used_somewhere():
    mixing = module("context_mixing")
    kinds = [contexts(order, level) for order in ("level", "pyramid") for level in range(3)]
    used = {context for known in kinds for context in mixing.WANTED if set(context) <= mixing.named_slots(known).keys()}
    assert used == set(mixing.WANTED)


@pytest.mark.parametrize("order", ["level", "pyramid"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_no_probability_depends_on_what_comes_later(fit, order, level):
    known = contexts(order, level)
    predictor = fit(known, documents(order, 60), documents(order, 20, seed=1))
    shown, others = documents(order, 4, seed=2), documents(order, 4, seed=3)
    before = predictor.log_probabilities(shown)
    for column in range(1, NUM_CODES + 1):
        changed = np.where(np.arange(NUM_CODES + 2) < column, shown, others)
        changed[:, -1] = shown[:, -1]
        after = predictor.log_probabilities(changed)
        up_to = known.columns <= column
        assert torch.equal(after[:, up_to], before[:, up_to])


@pytest.mark.parametrize("order", ["level", "pyramid"])
@pytest.mark.parametrize("name", ["mlp", "mixing"])
def test_probabilities_depend_on_what_comes_before(order, name):
    known = contexts(order, 2)
    predictor = FITS[name](known, documents(order, 60), documents(order, 20, seed=1))
    shown, others = documents(order, 4, seed=2), documents(order, 4, seed=3)
    changed = np.where(np.arange(NUM_CODES + 2) < known.columns[-1], others, shown)
    assert not torch.equal(predictor.log_probabilities(changed)[:, -1], predictor.log_probabilities(shown)[:, -1])


@pytest.mark.parametrize("level", [0, 1, 2])
def test_probabilities_add_up_to_one(fit, level):
    predictor = fit(contexts("level", level), documents("level", 60), documents("level", 20, seed=1))
    unseen = documents("level", 30, seed=2)
    unseen[:10, -1] = 0  # a caption that no training row has
    totals = predictor.log_probabilities(unseen).exp().sum(2)
    assert totals.shape == (30, [1, 4, 16][level])
    assert torch.allclose(totals, torch.ones_like(totals), atol=1e-5)


@pytest.mark.parametrize(("name", "budget"), [("mlp", {"minutes": 0.05}), ("mixing", {"steps": 50})])
def test_what_follows_from_its_parent_costs_less_than_by_its_place(name, budget):
    known, train, validation = contexts("level", 2), documents("level", 400), documents("level", 100, seed=1)
    bits_per_image, test = module("code_contexts").bits_per_image, documents("level", 100, seed=2)
    by_place = bits_per_image(static(known, train, validation), known, test).mean()
    by_parent = bits_per_image(FITS[name](known, train, validation, **budget), known, test).mean()
    truth = 16 * -(math.log2(0.8 + 0.2 / 7) * (0.8 + 0.2 / 7) + 6 * 0.2 / 7 * math.log2(0.2 / 7))
    assert truth * 0.95 < by_parent < 0.8 * by_place


def test_histograms_of_known_counts():
    known = contexts("level", 0)
    rows = np.zeros((8, NUM_CODES + 2), np.int32)
    rows[:, 1] = [1, 1, 1, 1, 2, 2, 3, 3]
    found = module("code_histograms").Histograms(known, [known.caption()], rows, rows)
    assert found.smoothing == min(module("code_histograms").SMOOTHINGS)
    assert found.num_entries == 3
    bits = module("code_contexts").bits_per_image(found, known, rows)
    assert bits == pytest.approx([1] * 4 + [2] * 4, abs=0.01)


def test_a_count_table_is_smoothed_by_the_shorter_context():
    tables = module("count_tables")
    shorter, last, targets = np.zeros(4, np.int64), np.array([2, 2, 2, 5]), np.array([0, 0, 1, 1])
    counts = tables.Counts(shorter, last, 6, targets, num_codes=3)
    assert (len(counts), counts.num_entries, counts.shorter.tolist()) == (2, 3, [0, 0])
    numbers = counts.find(np.array([0, 0, 0, -1]), np.array([5, 2, 4, 2]))
    assert numbers.tolist() == [1, 0, -1, -1]
    assert counts.totals(numbers).tolist() == [1, 3, 0, 0]
    assert counts.of(numbers, np.array([1, 0, 0, 0])).tolist() == [1, 2, 0, 0]
    fallback = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64).expand(4, 3)
    found = tables.smooth(counts, 2.0, 0.25, numbers, fallback)
    # Of the value 2, seen three times with two codes: (c - 0.25 + (2 + 0.25 * 2) * fallback) / (3 + 2).
    assert found[1].tolist() == pytest.approx([(1.75 + 1.25) / 5, (0.75 + 0.75) / 5, 0.5 / 5])
    assert found[0].tolist() == pytest.approx([1.125 / 3, (0.75 + 0.675) / 3, 0.45 / 3])
    assert torch.equal(found[2:], fallback[2:])  # these values never came


def test_strength_and_discount_are_those_with_the_fewest_bits():
    tables = module("count_tables")
    generator = np.random.default_rng(0)
    last, targets = generator.integers(4, size=4000), generator.integers(8, size=4000)
    counts = tables.Counts(np.zeros(4000, np.int64), last, 4, targets, num_codes=8)
    uniform = np.full(4000, 1 / 8)
    numbers = counts.find(np.zeros(4000, np.int64), generator.integers(4, size=4000))
    strength, _, said = tables.choose(counts, numbers, generator.integers(8, size=4000), uniform)
    assert strength == max(tables.STRENGTHS)  # the context says nothing
    assert -np.log2(said).mean() == pytest.approx(3, abs=0.01)


def test_kept_distributions_are_those_made_when_needed(monkeypatch):
    known, train = contexts("level", 2), documents("level", 60)
    kept = mixing(known, train, documents("level", 20, seed=1)).tables
    monkeypatch.setattr(module("count_tables"), "_KEPT", 0)
    made = mixing(known, train, documents("level", 20, seed=1)).tables
    shown = documents("level", 10, seed=2)
    assert torch.allclose(kept.distributions(shown)[0], made.distributions(shown)[0], atol=1e-6)


def test_the_same_seed_learns_the_same(fit):
    known, parts = contexts("pyramid", 2), (documents("pyramid", 60), documents("pyramid", 20, seed=1))
    shown = documents("pyramid", 4, seed=2)
    assert torch.equal(fit(known, *parts).log_probabilities(shown), fit(known, *parts).log_probabilities(shown))


@pytest.fixture(scope="module")
def codes_folder(tmp_path_factory):
    """Codes of 16 pictures as split train, and of the same as split test."""
    import tiny_chain

    folder = tmp_path_factory.mktemp("codes")
    for split in ("train", "test"):
        source = load_image_source(str(tiny_chain.pictures()))
        write_codes(source, tiny_chain.image_tokenizer(), tiny_chain.processor(), folder, split=split)
    return str(folder)


def test_the_script(codes_folder, tmp_path, capsys):
    script = module("prior_baselines")
    written = [tmp_path / name for name in ("a.json", "a.npz", "b.json", "b.npz")]
    for report, bits in (written[:2], written[2:]):
        arguments = ["--codes", codes_folder, "--validation", "5", "--quick"]
        script.main([*arguments, "--json", str(report), "--per-image", str(bits)])
    assert written[1].read_bytes() == written[3].read_bytes()
    report = json.loads(written[0].read_text(encoding="utf-8"))
    assert json.loads(capsys.readouterr().out.split("\n}\n")[0] + "}") == report
    rows = report["num_rows"]
    assert rows["train"] + rows["validation"] == rows["test"] == 16
    runs = {(run["baseline"], run["order"], run["condition"]): run for run in report["baselines"]}
    assert len(runs) == len(report["baselines"]) == 4 * 2 * 2
    arrays = np.load(written[1])
    for key, run in runs.items():
        assert arrays["/".join(key)].shape == (16, 2)
        assert run["bits"] == pytest.approx(arrays["/".join(key)].sum(1).mean())
        assert run["bits"] == pytest.approx(sum(run["level_bits"]))
    for name in ("static", "static-level"):  # they know of no order
        assert runs[name, "level", "none"]["bits"] == pytest.approx(runs[name, "pyramid", "none"]["bits"])


def test_mistakes_are_one_line(codes_folder, monkeypatch):
    script = module("prior_baselines")
    with pytest.raises(SystemExit, match="error: what is learned from split train must be measured on another"):
        script.main(["--codes", codes_folder, "--split", "train"])
    with pytest.raises(SystemExit, match=r"error: expected 1..15 validation rows of 16, got 5000"):
        script.main(["--codes", codes_folder])
    monkeypatch.setattr(module("code_rows"), "MAX_CAPTIONS", 3)
    with pytest.raises(SystemExit, match="error: baselines know at most 3 different captions, got"):
        script.main(["--codes", codes_folder, "--validation", "5", "--quick", "--condition", "caption"])


def test_captions_that_are_no_classes_are_left_out(codes_folder, monkeypatch, capsys):
    monkeypatch.setattr(module("prior_baselines"), "MAX_CAPTIONS", 3)
    arguments = ["--codes", codes_folder, "--validation", "5", "--quick", "--order", "level", "--baselines", "static"]
    module("prior_baselines").main(arguments)
    report = json.loads(capsys.readouterr().out)
    assert [run["condition"] for run in report["baselines"]] == ["none"]


def test_data_that_leaves_no_rows_is_refused(tmp_path):
    import tiny_chain

    source = load_image_source(str(tiny_chain.pictures())).select([0, 5])  # the hashes of both keys are in one half
    for split in ("train", "test"):
        write_codes(source, tiny_chain.image_tokenizer(), tiny_chain.processor(), tmp_path, split=split)
    with pytest.raises(InputError, match="the hashes of the keys leave no validation rows"):
        module("code_rows").load_rows(str(tmp_path), "train", "test", validation=1)
