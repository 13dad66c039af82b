import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from accelerate.utils import set_seed
from safetensors.torch import load_file
from typer.testing import CliRunner

from pictogram.hub.command_line import new_app, run_command
from pictogram.hub.errors import InputError
from pictogram.hub.files import read_json
from pictogram.tokenizer import train
from pictogram.tokenizer.batches import process_slice
from pictogram.tokenizer.checkpoints import MetricsLog, TrainingFolder
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.train import TokenizerTrainingConfig, run_training, train_tokenizer

pytestmark = pytest.mark.usefixtures("fresh_accelerator")

TINY = {
    "image_size": 16,
    "strides": "image,8,4",
    "codebook_sizes": "4,8,8",
    "codebook_dim": 4,
    "hidden_size": 8,
    "num_blocks": 1,
    "num_steps": 12,
    "batch_size": 8,
    "warmup_steps": 2,
    "prefix_weights": "0.2",
    "checkpoint_every": 4,
    "log_every": 1,
}
RESULTS = ("model.safetensors", "metrics.jsonl", "config.json", "preprocessor_config.json", "complete.json")


class Killed(BaseException):
    pass


def tiny(data: Path, output: Path, **settings) -> TokenizerTrainingConfig:
    return TokenizerTrainingConfig(data=str(data), output=str(output), **(TINY | settings))


def arguments(config: TokenizerTrainingConfig) -> list[str]:
    flags = {
        field.name: field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
        for field in dataclasses.fields(config)
    }
    options = dataclasses.asdict(config)
    parts: list[str] = []
    for name, value in options.items():
        if isinstance(value, bool):
            parts.append(flags[name] if value else flags[name].replace("--", "--no-"))
        else:
            parts += [flags[name], str(value)]
    return parts


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


def losses(folder: Path) -> list[float]:
    return [line["loss"] for line in MetricsLog.read(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory) -> Path:
    """A run that nothing disturbed."""
    output = tmp_path_factory.mktemp("finished") / "run"
    train_tokenizer(tiny(image_folder, output))
    return output


@pytest.fixture
def interrupted(monkeypatch):
    """Trains, but dies before a step; `steps` collects what was done."""

    def train_until(config: TokenizerTrainingConfig, last: int) -> None:
        step = train._Trainer._step

        def dies(self, number):
            if number == last:
                raise Killed
            return step(self, number)

        with monkeypatch.context() as patch:
            patch.setattr(train._Trainer, "_step", dies)
            with pytest.raises(Killed):
                train_tokenizer(config)

    return train_until


# The result


def test_what_a_run_leaves(finished):
    names = {path.name for path in finished.iterdir()}
    assert names == {*RESULTS, "run.json", "provenance.json", "reconstructions-00000012.png"}
    loaded = load_image_tokenizer(finished)
    assert isinstance(loaded.model, ImageTokenizer)
    assert loaded.model.config.prefix_weights == [0.2, 0.2]
    assert loaded.processor.size == {"height": 16, "width": 16}
    summary = read_json(finished / "complete.json")
    assert summary["steps"] == 12
    assert summary["failures"] == []
    assert summary["train"]["num_images"] == 24
    assert len(summary["train"]["psnr"]) == len(summary["train"]["usage"]) == len(summary["train"]["perplexity"]) == 3
    lines = MetricsLog.read(finished / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert all(line.keys() == {"step", *train._LOGGED} for line in lines)


def test_it_learns(finished, image_folder, tmp_path):
    assert losses(finished)[-1] < losses(finished)[0]
    train_tokenizer(tiny(image_folder, tmp_path, num_steps=60, learning_rate=1e-2))
    assert losses(tmp_path)[-1] < 0.5 * losses(tmp_path)[0]
    psnr = read_json(tmp_path / "complete.json")["train"]["psnr"]
    assert psnr[0] < psnr[2]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(finished, image_folder, tmp_path):
    torch.manual_seed(99)
    train_tokenizer(tiny(image_folder, tmp_path / "same", checkpoint_every=5, picture_every=3))
    assert contents(tmp_path / "same") == contents(finished)
    assert (tmp_path / "same" / "reconstructions-00000009.png").is_file()
    train_tokenizer(tiny(image_folder, tmp_path / "other", seed=1))
    assert losses(tmp_path / "other") != losses(finished)


@pytest.mark.parametrize("last", [2, 4, 6, 11])
def test_an_interrupted_run_goes_on_to_the_same_bytes(last, finished, interrupted, image_folder, tmp_path):
    config = tiny(image_folder, tmp_path)
    interrupted(config, last)
    assert not (tmp_path / "complete.json").exists()
    assert len(MetricsLog.read(tmp_path / "metrics.jsonl")) == last
    set_seed(5)
    train_tokenizer(config)
    assert contents(tmp_path) == contents(finished)


def test_interrupted_twice(finished, interrupted, image_folder, tmp_path):
    config = tiny(image_folder, tmp_path)
    interrupted(config, 6)
    interrupted(config, 9)
    train_tokenizer(config)
    assert contents(tmp_path) == contents(finished)


def test_killed_while_the_result_was_written(finished, image_folder, tmp_path, monkeypatch):
    config = tiny(image_folder, tmp_path)

    def killed(*args):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(TrainingFolder, "complete", killed)
        with pytest.raises(Killed):
            train_tokenizer(config)
    train_tokenizer(config)
    assert contents(tmp_path) == contents(finished)


def test_a_finished_run_is_not_trained_again(finished, image_folder, monkeypatch):
    before = {path.name: path.stat().st_mtime_ns for path in finished.iterdir()}

    def never(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(train._Trainer, "_step", never)
    result = train_tokenizer(tiny(image_folder, finished))
    assert (result.num_images, result.failures) == (24, [])
    assert {path.name: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_killed_for_real(image_folder, tmp_path):
    config = tiny(image_folder, tmp_path / "killed", num_steps=120, checkpoint_every=10)
    process = subprocess.Popen([sys.executable, "-m", "pictogram.tokenizer.train", *arguments(config)])
    deadline = time.monotonic() + 300
    while not list((tmp_path / "killed").glob("checkpoints/step-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed" / "complete.json").exists()
    train_tokenizer(config)
    train_tokenizer(dataclasses.replace(config, output=str(tmp_path / "whole")))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


# Several processes


def witness(folder: Path) -> Path:
    """Makes each process note how many take part: strangers that each train alone would agree just as well."""
    (folder / "sitecustomize.py").write_text(
        "import atexit, os, sys\n"
        "@atexit.register\n"
        "def note():\n"
        "    if 'accelerate' in sys.modules and 'RANK' in os.environ:\n"
        "        from accelerate.state import PartialState\n"
        "        with open(f\"{os.environ['WITNESS']}/world-{os.environ['RANK']}\", 'w') as file:\n"
        "            file.write(str(PartialState._shared_state.get('num_processes')))\n"
    )
    return folder


RATED = {"rate_weight": 300.0, "rate_warmup": 0.5}


def test_the_rate_is_logged_and_part_of_the_tokenizer(image_folder, tmp_path):
    train_tokenizer(tiny(image_folder, tmp_path, **RATED))
    lines = MetricsLog.read(tmp_path / "metrics.jsonl")
    assert all(line["rate"] > 0 for line in lines)
    model = load_image_tokenizer(tmp_path).model
    assert isinstance(model, ImageTokenizer) and model.rate_model is not None
    assert model.config.rate_weight == 300 and not torch.equal(model.rate_model.scales, torch.ones(3))


def test_an_interrupted_run_by_rate_goes_on_to_the_same_bytes(interrupted, image_folder, tmp_path):
    config = tiny(image_folder, tmp_path / "killed", **RATED)
    interrupted(config, 7)
    train_tokenizer(config)
    train_tokenizer(dataclasses.replace(config, output=str(tmp_path / "whole")))
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_tokenizer_learns_to_spare_bits_later(finished, image_folder, tmp_path):
    train_tokenizer(tiny(image_folder, tmp_path / "later", start_from=str(finished), **RATED))
    model = load_image_tokenizer(tmp_path / "later").model
    assert isinstance(model, ImageTokenizer) and model.rate_model is not None
    train_tokenizer(tiny(image_folder, tmp_path / "again", start_from=str(tmp_path / "later")))
    again = load_image_tokenizer(tmp_path / "again").model
    assert isinstance(again, ImageTokenizer) and again.config.rate_weight == 300
    trainings = load_image_tokenizer(tmp_path / "again").history()
    assert [each["settings"].get("rate_weight") for each in trainings] == [0, 300, 0]
    frozen = {"start_from": str(tmp_path / "later"), "freeze": "encoder,codebook"}
    with pytest.raises(InputError, match="another rate_weight changes codes"):
        train_tokenizer(tiny(image_folder, tmp_path / "no", **frozen, rate_weight=200.0))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        *(
            pytest.param(settings, marks=pytest.mark.slow)
            for settings in (
                {"prefix_weights": "0,0.2"},
                {"strides": "image,8,8"},
                {"rate_weight": 300.0},
                {"quantizer": "lfq", "picture_every": 10},
            )
        ),
    ],
    ids=str,
)
def test_two_processes_train_like_one(settings, image_folder, tmp_path):
    one = tiny(image_folder, tmp_path / "one", num_steps=20, **settings)
    two = dataclasses.replace(one, output=str(tmp_path / "two"))
    train_tokenizer(one)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*torchrun, "-m", "pictogram.tokenizer.train", *arguments(two), "--json"]
    environment = os.environ | {"PYTHONPATH": str(witness(tmp_path)), "WITNESS": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert [(tmp_path / f"world-{rank}").read_text() for rank in (0, 1)] == ["2", "2"]
    assert json.loads(done.stdout)["num_images"] == 24  # printed once
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-4, abs=1e-4)
    tensors = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    assert tensors[0].keys() == tensors[1].keys()
    for name, tensor in tensors[0].items():
        assert torch.allclose(tensors[1][name], tensor, rtol=1e-3, atol=1e-3), name


def test_a_batch_that_the_processes_cannot_share(image_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "process_slice", lambda size, index, count: process_slice(size, 0, 3))
    with pytest.raises(InputError, match="batch_size must be a multiple of the 3 processes, got 8"):
        train_tokenizer(tiny(image_folder, tmp_path))


# Parts


def test_more_pictures_a_batch_than_there_are(image_folder, tmp_path):
    train_tokenizer(tiny(image_folder, tmp_path, batch_size=60, num_steps=2))
    assert len(losses(tmp_path)) == 2


def test_half_precision(finished, image_folder, tmp_path):
    train_tokenizer(tiny(image_folder, tmp_path, mixed_precision="bf16"))
    assert losses(tmp_path) == pytest.approx(losses(finished), rel=0.2)
    tensors = load_file(tmp_path / "model.safetensors")
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in tensors.values())


# Mistakes


def test_damaged_pictures_are_left_out_counted_and_listed(finished, image_folder, tmp_path):
    data = shutil.copytree(image_folder, tmp_path / "data")
    (data / "zz-damaged.png").write_bytes((data / "00.png").read_bytes()[:50])
    (data / "zz-empty.png").touch()
    (data / "zz-text.png").write_text("not a picture")
    printed = run_training(tiny(data, tmp_path / "run"))
    assert printed["num_images"] == 24
    assert [failure["key"] for failure in printed["failures"]] == ["zz-damaged.png", "zz-empty.png", "zz-text.png"]
    assert all(failure["reason"] for failure in printed["failures"])
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (finished / "model.safetensors").read_bytes()


def test_other_settings_are_refused_and_reporting_may_change(finished, image_folder, tmp_path):
    with pytest.raises(InputError, match=r"num_steps 12 -> 13"):
        train_tokenizer(tiny(image_folder, finished, num_steps=13))
    fewer = tmp_path / "fewer"
    shutil.copytree(image_folder, fewer)
    next(fewer.glob("*.png")).unlink()
    with pytest.raises(InputError, match=r"data .*, num_images 24 -> 23, pictures .*, seed 0 -> 1"):
        train_tokenizer(tiny(fewer, finished, seed=1))
    others = tmp_path / "others"
    shutil.copytree(image_folder, others)
    shutil.copy(others / "00.png", others / "01.png")
    with pytest.raises(InputError, match=r"\(data [^,]*, pictures [^,]*\); give"):
        train_tokenizer(tiny(others, finished))
    train_tokenizer(tiny(image_folder, finished, log_every=5, checkpoint_every=3, picture_every=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strides": "image,8,x"}, "strides must be whole numbers, got 'x'"),
        ({"strides": "8,,4"}, "strides must be whole numbers, got ''"),
        ({"codebook_sizes": "4,8,8.5"}, "codebook_sizes must be whole numbers, got '8.5'"),
        ({"codebook_sizes": "4,8"}, "one codebook size per stride"),
        ({"strides": "image,8,3"}, "multiple of the next one"),
        ({"image_size": 20}, "multiples of 8 pixels"),
        ({"prefix_weights": "0.5,-1"}, "2 finite weights >= 0"),
        ({"data": "/nowhere/at/all"}, "does not exist"),
        ({"split": "nonsense"}, "no split 'nonsense'"),
    ],
)
def test_mistakes(settings, message, image_folder, tmp_path):
    with pytest.raises(InputError, match=message):
        train_tokenizer(dataclasses.replace(tiny(image_folder, tmp_path / "run"), **settings))
    assert not (tmp_path / "run").exists()


def test_the_command_line(image_folder, tmp_path, monkeypatch, capsys):
    def call(config: TokenizerTrainingConfig, *more: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["train", *arguments(config), *more])
        with pytest.raises(SystemExit) as exit_:
            run_command(train.main)
        return exit_.value.code, *capsys.readouterr()

    config = tiny(image_folder, tmp_path / "run", strides=" image, 8, 4")
    code, out, err = call(config, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["tokenizer"] == str(tmp_path / "run")
    code, out, err = call(dataclasses.replace(config, seed=3))
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert "seed 0 -> 3" in err
    assert err.count("\n") == 1


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    command = [sys.executable, "-m", "pictogram.tokenizer.train", *arguments(tiny(tmp_path, tmp_path / "run"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_help_lists_every_option_with_its_description():
    app = new_app()
    app.command()(train.main)
    result = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "250", "NO_COLOR": "1"})
    assert result.exit_code == 0
    for field in dataclasses.fields(TokenizerTrainingConfig):
        assert (field.metadata["flag"] or f"--{field.name.replace('_', '-')}") in result.output
        assert field.metadata["help"] in result.output
