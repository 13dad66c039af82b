"""`benchmarks/fashion_splits.py` and `fashion_evidence.py`: held-out pictures, and stages that run once."""

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_samples import NAMES, data, noise

from pictogram import InputError
from pictogram.pipelines.sample_shards import write_samples
from pictogram.tokenizer.images import load_image_source

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    """Scripts find their siblings in their own folder."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """Two splits of 40 and 8 grey pictures of two classes, as parquet."""
    folder = tmp_path_factory.mktemp("clothes")
    for seed, (split, count) in enumerate((("train", 40), ("test", 8))):
        write_samples(folder / split, noise, NAMES, count, seed=1000 * seed, origin={}, shard_size=100)
        shard = next((folder / split).glob("*.parquet"))
        shard.rename(folder / f"{split}.parquet")
    return folder


def pixels(folder, split):
    source = load_image_source(str(folder), split)
    return [source.read(row).tobytes() for row in range(len(source))]


def test_held_out_pictures_are_nowhere_else(clothes, tmp_path):
    splits = importlib.import_module("fashion_splits")
    assert splits.write_splits(str(clothes), tmp_path, 10) == {"train": 30, "validation": 10, "test": 8}
    parts = {split: pixels(tmp_path, split) for split in ("train", "validation", "test")}
    assert not set(parts["train"]) & set(parts["validation"])
    assert sorted(parts["train"] + parts["validation"]) == sorted(pixels(clothes, "train"))
    assert parts["test"] == pixels(clothes, "test")
    labels = load_image_source(str(tmp_path), "validation").class_labels()
    assert labels is not None and labels.names == tuple(NAMES) and torch.bincount(labels.values).tolist() == [5, 5]


def test_other_data_is_refused_in_one_line(clothes, tmp_path, image_folder, capsys):
    splits = importlib.import_module("fashion_splits")
    for split in ("train", "test"):
        target = tmp_path / "plain" / split
        target.mkdir(parents=True)
        for path in image_folder.glob("*.png"):
            (target / path.name).write_bytes(path.read_bytes())
    with pytest.raises(SystemExit):
        splits.main(["--data", str(tmp_path / "plain"), "--out", str(tmp_path / "out")])
    assert "must have the columns image and label, ['label'] are missing" in capsys.readouterr().err


def test_too_few_pictures(clothes, tmp_path, capsys):
    splits = importlib.import_module("fashion_splits")
    with pytest.raises(SystemExit):
        splits.main(["--data", str(clothes), "--out", str(tmp_path)])
    assert "more than 5000 training pictures, got 40" in capsys.readouterr().err


def run(tmp_path, **changes):
    systems = importlib.import_module("fashion_systems")
    given = systems.Run("fake", 30, 0, data(), tmp_path / "fake", 16, "test")
    return replace(given, **changes)


def test_every_system_trains_what_counts():
    systems = importlib.import_module("fashion_systems")
    for system, budgets in systems.SETTINGS.items():
        for minutes in budgets:
            made = systems.stages(systems.Run(system, minutes, 3, Path("d"), Path("w"), 10, "test"))
            assert any(stage.trains for stage in made)
            for stage in made:
                if stage.trains:
                    assert "--seed" in stage.command
                    assert "test" not in stage.command


def test_commands_on_record_name_no_folder_of_this_machine():
    systems = importlib.import_module("fashion_systems")
    made = systems.stages(systems.Run("gan", 30, 3, Path("fashion"), Path("w"), 10, "test"))
    spoken = made[-1].spoken()
    assert spoken.startswith("python benchmarks/peers/projection_gan.py --data fashion --split train --num-steps ")
    assert spoken.count("--seed 3") == 1
    assert str(BENCHMARKS.parent) not in spoken


@pytest.mark.parametrize(("changes", "message"), [({"system": "x"}, "system must be"), ({"minutes": 7}, "budget of")])
def test_unknown_systems_and_budgets(tmp_path, changes, message):
    systems = importlib.import_module("fashion_systems")
    with pytest.raises(InputError, match=message):
        systems.stages(run(tmp_path, **({"system": "gan"} | changes)))


def test_what_does_not_exist_is_refused_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    evidence = importlib.import_module("fashion_evidence")
    monkeypatch.setattr(evidence, "measure", lambda *_: pytest.fail("nothing may be measured"))
    with pytest.raises(SystemExit):
        evidence.main(["--systems", "pictogram,gna", "--work", str(tmp_path)])
    assert "system must be one of" in capsys.readouterr().err


def test_a_stage_runs_once_and_says_what_it_took(tmp_path):
    evidence, systems = (importlib.import_module(name) for name in ("fashion_evidence", "fashion_systems"))
    code = f"open({str(tmp_path / 'count')!r}, 'a').write('x'); sum(range(3_000_000))"
    stage = systems.Stage("count up", [sys.executable, "-c", code], trains=True)
    first = evidence.run_stage(stage, tmp_path)
    assert evidence.run_stage(stage, tmp_path) == first
    assert (tmp_path / "count").read_text() == "x"
    assert first["cpu_seconds"] > 0 and first["trains"]


def test_stages_keep_memory_unless_told_otherwise(tmp_path, monkeypatch):
    evidence, systems = (importlib.import_module(name) for name in ("fashion_evidence", "fashion_systems"))
    monkeypatch.delenv("MALLOC_MMAP_THRESHOLD_", raising=False)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "5")
    code = f"import json, os; json.dump(dict(os.environ), open({str(tmp_path / 'seen')!r}, 'w'))"
    evidence.run_stage(systems.Stage("look", [sys.executable, "-c", code]), tmp_path)
    seen = json.loads((tmp_path / "seen").read_text())
    assert seen["MALLOC_MMAP_THRESHOLD_"] == "4000000000" and seen["MALLOC_TRIM_THRESHOLD_"] == "5"


def test_a_stage_that_fails_says_where_to_look(tmp_path):
    evidence, systems = (importlib.import_module(name) for name in ("fashion_evidence", "fashion_systems"))
    stage = systems.Stage("break", [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(InputError, match=r"break failed with exit code 3; .*break.log says why"):
        evidence.run_stage(stage, tmp_path)
    assert not (tmp_path / "stages" / "break.json").exists()


def test_a_stage_of_another_command_is_refused(tmp_path):
    evidence, systems = (importlib.import_module(name) for name in ("fashion_evidence", "fashion_systems"))
    evidence.run_stage(systems.Stage("train", [sys.executable, "-c", "pass"]), tmp_path)
    with pytest.raises(InputError, match=r"train.json is of another command \(python -c pass\) than python -c 'x = 1'"):
        evidence.run_stage(systems.Stage("train", [sys.executable, "-c", "x = 1"]), tmp_path)


def test_what_failed_attempts_took_is_counted(tmp_path):
    evidence, systems = (importlib.import_module(name) for name in ("fashion_evidence", "fashion_systems"))
    works = f"import os, sys, time; time.sleep(.2); sys.exit(not os.path.exists({str(tmp_path / 'ready')!r}))"
    stage = systems.Stage("try", [sys.executable, "-c", works])
    with pytest.raises(InputError, match="exit code 1"):
        evidence.run_stage(stage, tmp_path)
    (tmp_path / "ready").touch()
    assert evidence.run_stage(stage, tmp_path)["seconds"] > 0.4
    assert [path.name for path in (tmp_path / "stages").iterdir()] == ["try.json"]


def test_an_attempt_that_nobody_saw_the_end_of_leaves_the_time_unknown(tmp_path, monkeypatch):
    evidence, systems = (importlib.import_module(name) for name in ("fashion_evidence", "fashion_systems"))
    stage = systems.Stage("train", [sys.executable, "-c", "pass"], trains=True)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(evidence, "_timed", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        evidence.run_stage(stage, tmp_path)
    found = evidence.run_stage(stage, tmp_path)
    assert found["seconds"] is None and found["cpu_seconds"] is None
    assert evidence.training_seconds([found], None) is None


def test_drawing_does_not_count_as_training():
    evidence = importlib.import_module("fashion_evidence")
    stages = [{"cpu_seconds": 5.0, "trains": True}, {"cpu_seconds": 1.0, "trains": False}]
    stages.append({"cpu_seconds": 9.0, "trains": True})
    assert evidence.training_seconds(stages, None) == 14
    assert evidence.training_seconds(stages, {"training": {"cpu_seconds": 6.0}}) == 11


def test_a_whole_run(tmp_path, monkeypatch):
    evidence, systems = (importlib.import_module(name) for name in ("fashion_evidence", "fashion_systems"))

    def fake(given, settings):
        samples = given.folder / "peer" / "samples"
        write_samples(samples, noise, NAMES, given.num_images, seed=given.seed, origin={})
        save_file({"weight": torch.zeros(3, 4)}, given.folder / "peer" / "generator.safetensors")
        return [systems.Stage("training", [sys.executable, "-c", "pass"], trains=True)]

    monkeypatch.setitem(systems.SYSTEMS, "fake", fake)
    monkeypatch.setitem(systems.SETTINGS, "fake", {30: {}})
    words = ["--data", str(data()), "--work", str(tmp_path / "work"), "--systems", "fake", "--num-images", "16"]
    words += ["--classifier-steps", "10"]
    evidence.main([*words, "--json", str(tmp_path / "report.json")])
    (found,) = json.loads((tmp_path / "report.json").read_text())["runs"]
    assert found["parameters"] == {"peer/generator.safetensors": 12}
    assert found["evaluation"]["cas"]["samples"]["accuracy"]["num_images"] == 24
    assert found["training_cpu_seconds"] > 0
    assert Image.open(tmp_path / "work" / "fake-30-0" / "evaluation-test" / "samples.png")


def fake_run(seed: int, cas: float, **changes) -> dict:
    accuracy = {"real": 0.9, "decoded": 0.88, "samples": cas}
    evaluation = {
        "cas": {arm: {"accuracy": {"value": value}} for arm, value in accuracy.items()}
        | {"share_of_real": cas / 0.9, "share_of_decoded": cas / 0.88},
        "recognised": {"real": 0.92, "decoded": 0.9, "samples": 0.85},
        "fd": {
            "real": {"per_class": 0.2, "global": 0.1},
            "decoded": {"per_class": 1.25, "global": 0.25},
            "samples": {"per_class": 1.5, "global": 0.5},
        },
        "precision_recall": {
            "real": {"precision": 0.95, "recall": 0.9},
            "samples": {"precision": 0.9, "recall": 0.8},
        },
        "memorisation": {
            "pixels": {
                "suspect": {"real test": 0.0},
                "ratio": {
                    "real test": {"percentile_1": 0.9, "median": 1.0},
                    "decoded test": {"percentile_1": 1.125, "median": 1.25},
                },
            }
        },
        "protocol": dict.fromkeys(
            ("split", "num_images", "num_steps", "num_classifiers", "guidance_scale", "feature_seed"), 1
        ),
        "seconds": {"num_images": 1000, "cpu_seconds": 10.0},
    }
    run = {
        "system": "ours",
        "minutes": 30,
        "seed": seed,
        "evaluation": evaluation,
        "peer": None,
        "bits": {"value": 200},
        "stages": [{"trains": True, "command": f"train --output w/ours-30-{seed}/bundle --seed {seed}"}],
    }
    return run | {"parameters": {"a": 1_500_000}, "training_cpu_seconds": 3600.0} | changes


def test_the_table_has_means_and_spreads(tmp_path, capsys):
    script = importlib.import_module("fashion_table")
    gan = fake_run(0, 0.7, system="gan", bits=None, peer={"sampling": {"num_images": 100, "cpu_seconds": 0.5}})
    gan["evaluation"]["seconds"] = None
    del gan["evaluation"]["fd"]["decoded"], gan["evaluation"]["recognised"]["decoded"]
    del gan["evaluation"]["cas"]["decoded"], gan["evaluation"]["cas"]["share_of_decoded"]
    del gan["evaluation"]["memorisation"]["pixels"]["ratio"]["decoded test"]
    for name, runs in (("a", [fake_run(0, 0.80), gan]), ("b", [fake_run(1, 0.82)])):
        (tmp_path / f"{name}.json").write_text(json.dumps({"runs": runs}))
    script.main([str(tmp_path / "a.json"), str(tmp_path / "b.json")])
    lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines()]
    found = {title: cells for title, *cells in lines[2:]}
    decoded = ["CAS of", "recognised,", "Fréchet distance, class by class,", "Fréchet distance of all together,"]
    figures = [found[f"{each} decoded pictures"] for each in decoded]
    assert figures == [["", "", figure] for figure in (".8800", ".900", "1.25", ".25")]
    assert lines[0] == ["real pictures", "GAN", "ours"]
    assert found["seeds"] == ["", "0", "0, 1"]
    assert found["CAS: accuracy on real pictures of a classifier that learned from these"] == [
        ".9000",
        ".7000",
        ".8100 ± .0141",
    ]
    assert found["CAS, of what real pictures give"] == ["", ".778", ".900 ± .016"]
    assert found["CAS, of what decoded pictures give"] == ["", "", ".920 ± .016"]
    assert found["Fréchet distance, class by class"] == [".20", "1.50", "1.50"]
    assert found["over that of decoded test pictures, percentile 1"] == ["", "", "1.12"]
    assert found["bits a picture"] == ["", "", "200.0"]
    assert found["60,000 samples, core minutes"] == ["", "5.0", "10.0"]
    assert found["training, core minutes"] == ["", "60.0", "60.0"]


def test_columns_of_two_budgets_say_which_they_are():
    longer = fake_run(0, 0.85, minutes=120, stages=[])
    header = importlib.import_module("fashion_table").table([longer, fake_run(0, 0.8)]).splitlines()[0]
    assert header == "|  | real pictures | ours, 30 min | ours, 120 min |"


def other_command() -> dict:
    return fake_run(1, 0.8, stages=[{"trains": True, "command": "train --more --output w/ours-30-1/bundle --seed 1"}])


def other_protocol() -> dict:
    changed = fake_run(1, 0.8)
    changed["evaluation"]["protocol"]["num_classifiers"] = 3
    return changed


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (lambda: fake_run(0, 0.8), "two runs of ours, 30 minutes, have the same seed"),
        (other_command, "were trained by other commands"),
        (other_protocol, "scored differently: .*num_classifiers 1.* and .*num_classifiers 3"),
    ],
)
def test_what_does_not_belong_together_is_not_averaged(second, message):
    with pytest.raises(InputError, match=message):
        importlib.import_module("fashion_table").table([fake_run(0, 0.8), second()])


def test_training_times_that_nobody_knows():
    run = fake_run(0, 0.8, training_cpu_seconds=None)
    assert importlib.import_module("fashion_table").table([run]).splitlines()[-1] == "| training, core minutes |  |  |"


def test_reports_of_something_else(tmp_path, capsys):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(SystemExit):
        importlib.import_module("fashion_table").main([str(tmp_path / "a.json")])
    assert "not what fashion_evidence.py writes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("page", "minutes", "systems"),
    [("docs/figures.md", {30}, {"pictogram", "gan", "pixelsnail"}), ("docs/results.md", {30, 120}, None)],
)
def test_the_tables_of_the_pages_are_those_of_the_reports(page, minutes, systems):
    root = Path(__file__).parents[1]
    reports = sorted((root / "docs" / "results").glob("fashion-*.json"))
    runs = [run for path in reports for run in json.loads(path.read_text())["runs"]]
    wanted = [run for run in runs if run["minutes"] in minutes and (systems is None or run["system"] in systems)]
    assert importlib.import_module("fashion_table").table(wanted) in (root / page).read_text(encoding="utf-8")
