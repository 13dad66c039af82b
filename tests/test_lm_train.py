import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_chain import codes_folder, image_tokenizer, pictures, processor, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.lm import train as module
from pictogram.lm.bundle import Bundle
from pictogram.lm.model import PRIOR_SIZES, PriorSize
from pictogram.lm.train import PriorTrainingConfig, run_training, train_prior
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.batches import process_slice
from pictogram.tokenizer.command_line import run_command

RESULTS = (
    "model.safetensors",
    "metrics.jsonl",
    "tokenizer.json",
    "vocabulary.json",
    "image_tokenizer/model.safetensors",
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(PRIOR_SIZES, "tiny", PriorSize(64, 1, 64))


def config(output: Path, **changes) -> PriorTrainingConfig:
    options = dict(
        codes=str(codes_folder()),
        tokenizer=str(tokenizer_folder()),
        output=str(output),
        size="tiny",
        text_vocab_size=290,
        num_steps=12,
        batch_size=8,
        warmup_steps=2,
        checkpoint_every=5,
        log_every=3,
    )
    return PriorTrainingConfig(**{**options, **changes})


def results(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that was never interrupted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PRIOR_SIZES, "tiny", PriorSize(64, 1, 64))
        folder = tmp_path_factory.mktemp("trained") / "bundle"
        train_prior(config(folder))
    return folder


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(trained: Path, tmp_path):
    train_prior(config(tmp_path / "again"))
    assert results(tmp_path / "again") == results(trained)
    train_prior(config(tmp_path / "other", seed=1))
    assert results(tmp_path / "other")["model.safetensors"] != results(trained)["model.safetensors"]


@pytest.mark.parametrize("last_step", [2, 7, 11])
def test_an_interrupted_run_ends_with_the_same_bytes(trained: Path, tmp_path, monkeypatch, last_step: int):
    step = module._Trainer._step

    def failing(self, number):
        if number == last_step:
            raise KeyboardInterrupt
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(module._Trainer, "_step", failing)
        with pytest.raises(KeyboardInterrupt):
            train_prior(config(tmp_path / "bundle"))
    assert not (tmp_path / "bundle" / "complete.json").exists()
    train_prior(config(tmp_path / "bundle", checkpoint_every=4))  # how often it saves is no setting
    assert results(tmp_path / "bundle") == results(trained)
    assert not (tmp_path / "bundle" / "checkpoints").exists()


KILLED = """
import json, os, signal, sys
from pictogram.lm import train
from pictogram.lm.model import PRIOR_SIZES, PriorSize
PRIOR_SIZES["tiny"] = PriorSize(64, 1, 64)
step = train._Trainer._step
def killed(self, number):
    if number == 8:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, number)
train._Trainer._step = killed
train.train_prior(train.PriorTrainingConfig(**json.loads(sys.argv[1])))
"""


def test_a_killed_run_ends_with_the_same_bytes(trained: Path, tmp_path):
    settings = config(tmp_path / "bundle")
    command = [sys.executable, "-c", KILLED, json.dumps(dataclasses.asdict(settings))]
    killed = subprocess.run(command, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in (tmp_path / "bundle" / "checkpoints").iterdir()] == ["step-00000005"]
    train_prior(settings)
    assert results(tmp_path / "bundle") == results(trained)


def test_a_finished_run_is_not_trained_again(trained: Path, monkeypatch):
    monkeypatch.setattr(module, "_Trainer", None)
    before = results(trained)
    assert isinstance(train_prior(config(trained)), Bundle)
    assert results(trained) == before
    with pytest.raises(InputError, match=r"run with other settings \(learning_rate 0.002 -> 0.001\)"):
        train_prior(config(trained, learning_rate=1e-3))


def test_metrics_tell_text_and_every_level_apart(trained: Path):
    lines = metrics(trained)
    assert [line["step"] for line in lines] == [3, 6, 9, 12]
    names = {"step", "loss", "bits_per_document", "text_bits", "level_0_bits", "level_1_bits"}
    assert all(set(line) == names for line in lines)
    result = run_training(config(trained))
    assert result == {"bundle": str(trained), "steps": 12, "seed": 0, "last": lines[-1]}


def test_the_loss_falls_on_what_can_be_learned_by_heart(tmp_path):
    train_prior(config(tmp_path / "bundle", num_steps=120, learning_rate=1e-2, log_every=1, batch_size=16))
    losses = [line["loss"] for line in metrics(tmp_path / "bundle")]
    assert sum(losses[-10:]) / 10 < 0.35 * losses[0]


def test_two_processes_give_the_losses_of_one(tmp_path):
    settings = config(tmp_path / "two", size="pico", num_steps=20, log_every=1, checkpoint_every=100)
    arguments = [
        part
        for name, value in dataclasses.asdict(settings).items()
        if value != ""
        for part in (f"--{name.replace('_', '-')}", str(value))
    ]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [*launch, "-m", "pictogram.lm.train", *arguments, "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["last"]["step"] == 20  # one document, however many processes
    train_prior(dataclasses.replace(settings, output=str(tmp_path / "one")))
    one, two = metrics(tmp_path / "one"), metrics(tmp_path / "two")
    assert len(one) == len(two) == 20
    for first, second in zip(one, two, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            assert second[name] == pytest.approx(first[name], abs=1e-4 if name == "loss" else 1e-2)


def test_codes_of_another_tokenizer_are_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_Trainer", None)
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        train_prior(config(tmp_path / "bundle", tokenizer=str(tokenizer_folder(1))))
    assert not (tmp_path / "bundle").exists()


def test_pictures_of_several_sizes_are_refused(tmp_path):
    native = processor()
    native.do_resize = False
    image_tokenizer().save_pretrained(tmp_path / "tokenizer")
    native.save_pretrained(tmp_path / "tokenizer")
    options = dict(tokenizer=str(tmp_path / "tokenizer"), codes=str(tmp_path / "codes"))
    tokenize(TokenizeConfig(data=str(pictures()), model=options["tokenizer"], output=options["codes"]))
    with pytest.raises(InputError, match="codes of pictures of one size"):
        train_prior(config(tmp_path / "bundle", **options))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("num_steps", 0, "num_steps must be at least 1, got 0"),
        ("batch_size", 0, "batch_size must be at least 1"),
        ("learning_rate", 0.0, "learning_rate must be above 0"),
        ("learning_rate", float("nan"), "learning_rate must be above 0, got nan"),
        ("warmup_steps", -1, "warmup_steps must be at least 0"),
        ("decay_share", 1.5, "decay_share must be at most 1"),
        ("weight_decay", -0.1, "weight_decay must be at least 0"),
        ("max_grad_norm", 0.0, "max_grad_norm must be above 0"),
        ("checkpoint_every", 0, "checkpoint_every must be at least 1"),
        ("log_every", 0, "log_every must be at least 1"),
        ("seed", -1, "seed must be at least 0"),
        ("text_vocab_size", 257, "text_vocab_size must be at least 258"),
        ("image_to_text", 1.1, "image_to_text must be at most 1"),
        ("caption_dropout", -0.1, "caption_dropout must be at least 0"),
        ("order", "zigzag", "order must be one of level, pyramid, got 'zigzag'"),
        ("size", "giant", "size must be one of .*nano.*, got 'giant'"),
        ("mixed_precision", "fp8", "mixed_precision must be one of no, fp16, bf16, got 'fp8'"),
        ("trackers", "paper", "trackers must be among .*tensorboard.*, got 'paper'"),
    ],
)
def test_settings_outside_their_range_are_refused(option: str, value, message: str):
    with pytest.raises(InputError, match=message):
        PriorTrainingConfig(**{option: value})


def test_a_precision_that_this_machine_lacks_is_refused(tmp_path):
    if torch.cuda.is_available():
        pytest.skip("fp16 works here")
    with pytest.raises(InputError, match="mixed_precision 'fp16' cannot be used here"):
        train_prior(config(tmp_path / "bundle", mixed_precision="fp16"))


def test_a_batch_that_the_processes_cannot_share_is_refused():
    with pytest.raises(InputError, match="batch_size must be a multiple of the 2 processes, got 7"):
        process_slice(7, 0, 2)


def test_help_lists_every_option(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train", "--help"])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as stop:
        run_command(module.main)
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "Example: pictogram train-lm" in text
    for field in dataclasses.fields(PriorTrainingConfig):
        assert f"--{field.name.replace('_', '-')}" in text
        assert field.metadata["help"][:30] in text
    assert "--json" in text
