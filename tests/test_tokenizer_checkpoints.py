import json
import os
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch.nn.parallel import DistributedDataParallel

from pictogram.hub.errors import InputError
from pictogram.tokenizer import checkpoints
from pictogram.tokenizer.checkpoints import MetricsLog, TrainingFolder

SETTINGS = {"seed": 0, "strides": ["image", 8], "rate": 0.1}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Run:
    """A linear model under training, and its accelerator."""

    def __init__(self):
        torch.manual_seed(0)
        self.accelerator = Accelerator(cpu=True)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)

    def step(self) -> float:
        loss = (self.model(torch.randn(4, 3)) - 1).square().mean()
        self.optimizer.zero_grad()
        self.accelerator.backward(loss)
        self.optimizer.step()
        return float(loss.detach())


@pytest.fixture
def run(fresh_accelerator) -> Run:
    return Run()


# The folder


def test_settings_are_written_and_the_same_ones_go_on(tmp_path):
    folder = TrainingFolder(tmp_path / "a" / "run", SETTINGS | {"strides": ("image", 8)})
    assert not folder.path.exists()
    folder.open()
    assert json.loads((folder.path / "run.json").read_text()) == SETTINGS
    again = TrainingFolder(folder.path, SETTINGS)
    again.open()
    assert not again.is_complete
    assert again.latest() is None


def test_a_folder_is_the_same_with_a_slash_behind_it(tmp_path):
    TrainingFolder(tmp_path / "run", SETTINGS | {"data": "photos/"}).open()
    assert TrainingFolder(tmp_path / "run", SETTINGS | {"data": "photos"}).settings["data"] == "photos"
    with pytest.raises(InputError, match=r"data 'photos' -> '/'"):
        TrainingFolder(tmp_path / "run", SETTINGS | {"data": "/"})


@pytest.mark.parametrize("off", [0.0, False, "", None])
def test_a_run_from_before_there_was_an_option_goes_on_without_it(tmp_path, off):
    TrainingFolder(tmp_path / "run", SETTINGS).open()
    TrainingFolder(tmp_path / "run", SETTINGS | {"code_noise": off})
    with pytest.raises(InputError, match=r"other settings \(code_noise None -> 0.1\)"):
        TrainingFolder(tmp_path / "run", SETTINGS | {"code_noise": 0.1})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SETTINGS | {"seed": 1}, r"\(seed 0 -> 1\)"),
        (SETTINGS | {"strides": ["image", 4]}, r"\(strides \['image', 8\] -> \['image', 4\]\)"),
        (SETTINGS | {"new": 3}, r"\(new None -> 3\)"),
        ({"seed": 0, "rate": 0.2}, r"\(rate 0.1 -> 0.2, strides \['image', 8\] -> None\)"),
    ],
)
def test_other_settings_are_refused_by_name(settings, message, tmp_path):
    TrainingFolder(tmp_path, SETTINGS).open()
    with pytest.raises(InputError, match=message):
        TrainingFolder(tmp_path, settings)


def test_folders_that_are_no_run(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="not empty and holds no training run"):
        TrainingFolder(tmp_path, SETTINGS)
    for path in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "run"):
        with pytest.raises(InputError, match=r"notes\.txt is a file"):
            TrainingFolder(path, SETTINGS)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="not valid JSON"):
        TrainingFolder(tmp_path, SETTINGS)


def test_empty_folder_and_one_with_a_half_written_settings_file(tmp_path):
    TrainingFolder(tmp_path, SETTINGS)
    (tmp_path / ".run.json.123.tmp").write_text("{")
    TrainingFolder(tmp_path, SETTINGS).open()
    TrainingFolder(tmp_path, SETTINGS)


def test_a_relative_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    TrainingFolder("run", SETTINGS).open()
    assert (tmp_path / "run" / "run.json").is_file()


# Checkpoints


def test_the_newest_checkpoint_continues_exactly(run, tmp_path):
    folder = TrainingFolder(tmp_path / "run", SETTINGS)
    folder.open()
    assert folder.load(run.accelerator) == 0
    for done in range(1, 5):
        run.step()
        folder.save(run.accelerator, done)
    assert names(folder.checkpoints) == ["step-00000004"]
    expected = [run.step() for _ in range(3)]
    assert folder.load(run.accelerator) == 4
    assert [run.step() for _ in range(3)] == expected  # weights, optimizer and random state
    other = Run()
    other.step()
    assert folder.load(other.accelerator) == 4
    assert [other.step() for _ in range(3)] == expected


@pytest.mark.parametrize("moment", ["while saving", "before the rename", "before the old one goes"])
def test_killed_while_saving(moment, run, tmp_path, monkeypatch):
    folder = TrainingFolder(tmp_path, SETTINGS)
    run.step()
    folder.save(run.accelerator, 1)
    expected = run.step()

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    def dies_half_way(path):
        Path(path).mkdir(parents=True)
        (Path(path) / "model.safetensors").write_bytes(b"half")
        killed()

    with monkeypatch.context() as patch:
        if moment == "while saving":
            patch.setattr(run.accelerator, "save_state", dies_half_way)
        elif moment == "before the rename":
            patch.setattr(checkpoints.os, "replace", killed)
        else:
            replace = os.replace
            patch.setattr(checkpoints.os, "replace", lambda *paths: (replace(*paths), killed()))
        with pytest.raises(KeyboardInterrupt):
            folder.save(run.accelerator, 2)
    whole = 2 if moment == "before the old one goes" else 1
    again = TrainingFolder(tmp_path, SETTINGS) if (tmp_path / "run.json").exists() else folder
    assert again.load(run.accelerator) == whole
    if whole == 1:
        assert run.step() == expected
    again.save(run.accelerator, 3)
    assert names(folder.checkpoints) == ["step-00000003"]


def test_a_checkpoint_of_several_processes_loads_on_one_and_back(run, tmp_path):
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        parallel = DistributedDataParallel(run.accelerator.unwrap_model(run.model))
    finally:
        torch.distributed.destroy_process_group()
    plain, wrapped = TrainingFolder(tmp_path / "plain", {}), TrainingFolder(tmp_path / "wrapped", {})
    plain.save(run.accelerator, 1)
    run.accelerator._models = [parallel]
    wrapped.save(run.accelerator, 1)
    file = "checkpoints/step-00000001/model.safetensors"
    assert (plain.path / file).read_bytes() == (wrapped.path / file).read_bytes()
    with torch.no_grad():
        parallel.module.weight.zero_()
    plain.load(run.accelerator)
    assert parallel.module.weight.any()


def test_complete_drops_the_checkpoints(run, tmp_path):
    folder = TrainingFolder(tmp_path, SETTINGS)
    folder.open()
    folder.save(run.accelerator, 1)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    folder.complete({"steps": 1})
    assert folder.is_complete
    assert TrainingFolder(tmp_path, SETTINGS).is_complete
    assert names(tmp_path) == ["complete.json", "model.safetensors", "run.json"]


def test_a_run_whose_weights_were_deleted_is_not_complete(tmp_path):
    folder = TrainingFolder(tmp_path, SETTINGS)
    folder.open()
    folder.complete({"steps": 1})
    assert not folder.is_complete


@pytest.mark.parametrize("name", ["optimizer.bin", "model.safetensors"])
def test_a_damaged_checkpoint_is_one_line_that_tells_the_way_out(name, run, tmp_path):
    folder = TrainingFolder(tmp_path, SETTINGS)
    folder.open()
    folder.save(run.accelerator, 1)
    path = tmp_path / "checkpoints" / "step-00000001" / name
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match=r"step-00000001 is damaged \(.*\); delete it to start the training again"):
        folder.load(run.accelerator)


def test_weights_that_are_not_finite_do_not_take_the_place_of_good_ones(run, tmp_path):
    folder = TrainingFolder(tmp_path, SETTINGS)
    folder.open()
    folder.save(run.accelerator, 1)
    with torch.no_grad():
        run.model.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="weight is not finite any more: the training has diverged"):
        folder.save(run.accelerator, 2)
    assert folder.load(run.accelerator) == 1
    assert run.model.weight.isfinite().all()
    folder.save(run.accelerator, 2)
    assert names(folder.checkpoints) == ["step-00000002"]


# Metrics


def test_metrics_after_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    for step in range(1, 6):
        log.write(step, loss=step / 3, usage=[0.1, 1.0])
    whole = path.read_bytes()
    resumed = MetricsLog(path, 3)
    assert [line["step"] for line in MetricsLog.read(path)] == [1, 2, 3]
    for step in (4, 5):
        resumed.write(step, loss=step / 3, usage=[0.1, 1.0])
    assert path.read_bytes() == whole
    MetricsLog(path, 0)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_line_cut_short_is_left_out(cut, tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    log.write(1, loss=0.5)
    log.write(2, loss=0.25)
    path.write_bytes(path.read_bytes()[:-cut])
    assert MetricsLog.read(path) == [{"step": 1, "loss": 0.5}]
    MetricsLog(path, 2).write(2, loss=0.25)
    assert [line["step"] for line in MetricsLog.read(path)] == [1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_divergence_ends_the_run_on_every_process(value, tmp_path):
    for path in (tmp_path / "metrics.jsonl", None):
        with pytest.raises(InputError, match=r"loss is (nan|inf) at step 3: the training has diverged"):
            MetricsLog(path, 0).write(3, bits=1.0, loss=value)


def test_no_file_no_log(tmp_path):
    log = MetricsLog(None, 0)
    log.write(1, loss=0.5)
    assert MetricsLog.read(tmp_path / "missing") == []
    assert names(tmp_path) == []
