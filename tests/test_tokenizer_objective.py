import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from pictogram.hub.errors import InputError
from pictogram.hub.files import read_json
from pictogram.tokenizer import train
from pictogram.tokenizer.checkpoints import MetricsLog
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.discriminator import adversarial_loss, seeded_discriminator
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.objective import Adversary, Objective, last_layer
from pictogram.tokenizer.perceptual import PerceptualLoss
from pictogram.tokenizer.pixel_dataset import load_pixels
from pictogram.tokenizer.training_config import TokenizerTrainingConfig

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
    "prefix_weights": "0.1",
    "checkpoint_every": 4,
    "log_every": 1,
}
ADVERSARY = {"adversarial_weight": 0.3, "adversarial_start": 3, "adversarial_ramp": 4}
ADVERSARIAL = {"adversarial_loss", "adversarial_scale", "discriminator_loss"}
ALWAYS = {"step", "loss", "distortion", "prefix_loss", "commitment_loss", "codebook_loss"}


class Killed(BaseException):
    pass


class Network(nn.Module):
    """Two layers of random features."""

    def __init__(self, num_channels: int = 3):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first = nn.Conv2d(num_channels, 8, 3, padding=1)
            self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first = self.first(pixel_values).relu()
        return first, self.second(first).relu()


def tiny(data: Path, output: Path, **settings) -> TokenizerTrainingConfig:
    return TokenizerTrainingConfig(data=str(data), output=str(output), **(TINY | settings))


def metrics(folder: Path) -> list[dict]:
    return MetricsLog.read(folder / "metrics.jsonl")


def results(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl", "complete.json")]


def train_until(monkeypatch, last: int, config: TokenizerTrainingConfig, **more) -> None:
    """Trains, but dies before step `last`."""
    step = train._Trainer._step

    def dies(self, number):
        if number == last:
            raise Killed
        return step(self, number)

    with monkeypatch.context() as patch:
        patch.setattr(train._Trainer, "_step", dies)
        with pytest.raises(Killed):
            train.train_tokenizer(config, **more)


def adversary(**settings) -> Adversary:
    shapes = {"num_channels": 3, "image_size": 16, "hidden_size": 4, "seed": 0}
    return Adversary(Accelerator(cpu=True), **({"weight": 0.5, "start": 2, "ramp_steps": 4} | shapes | settings))


@pytest.fixture
def model() -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(TokenizerTrainingConfig(**TINY).model_config()).train()


PIXELS = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(3)) * 2 - 1


# The terms


def test_without_terms_the_loss_is_the_very_loss_of_the_model(model):
    output = model(PIXELS)
    terms = Objective().terms(0, model, output, PIXELS)
    assert terms.loss is output.loss
    assert terms.metrics().keys() == {"loss"}


@pytest.mark.parametrize("weight", [0.1, 3.0])
def test_the_perceptual_term_is_weighted(weight, model):
    output, perceptual = model(PIXELS), PerceptualLoss(Network())
    terms = Objective(perceptual, weight).terms(0, model, output, PIXELS)
    expected = perceptual(output.reconstruction, PIXELS)
    assert terms.metrics().keys() == {"loss", "perceptual_loss"}
    torch.testing.assert_close(terms.metrics()["perceptual_loss"], expected.detach())
    torch.testing.assert_close(terms.loss, output.loss + weight * expected)


def test_the_ramp():
    found = [adversary().ramp(step) for step in range(8)]
    assert found == [0, 0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert [adversary(ramp_steps=0).ramp(step) for step in range(4)] == [0, 0, 1, 1]


def test_before_the_start_there_is_no_adversarial_term(model):
    output, objective = model(PIXELS), Objective(adversary=adversary())
    terms = objective.terms(1, model, output, PIXELS)
    objective.learn(1, terms, output, PIXELS, 1e-2)
    assert terms.loss is output.loss
    assert terms.metrics().keys() == {"loss"}


def gradient_norm(loss: torch.Tensor, parameter: nn.Parameter) -> float:
    (gradient,) = torch.autograd.grad(loss, parameter, retain_graph=True)
    return float(gradient.norm())


@pytest.mark.parametrize("perceptual_weight", [0.0, 2.0])
def test_the_adversarial_gradient_is_a_share_of_the_reconstruction_gradient(perceptual_weight, model):
    perceptual = PerceptualLoss(Network()) if perceptual_weight else None
    output, objective = model(PIXELS), Objective(perceptual, perceptual_weight, adversary())
    terms = objective.terms(3, model, output, PIXELS)
    distance = output.distortion
    if perceptual is not None:
        distance = distance + perceptual_weight * perceptual(output.reconstruction, PIXELS)
    assert terms.adversarial_scale is not None and terms.adversarial_loss is not None
    found = gradient_norm(terms.adversarial_scale * terms.adversarial_loss, last_layer(model))
    assert found == pytest.approx(0.5 * 0.5 * gradient_norm(distance, last_layer(model)), rel=1e-4)
    scale = terms.metrics()["adversarial_scale"]
    assert not terms.adversarial_scale.requires_grad
    twice = Objective(perceptual, perceptual_weight, adversary(weight=1.0)).terms(3, model, output, PIXELS)
    torch.testing.assert_close(twice.metrics()["adversarial_scale"], 2 * scale)


def test_the_last_layer_is_what_makes_the_pixels(model):
    output = model(PIXELS)
    assert last_layer(model) is list(model.decoder.parameters())[-2]  # its bias is the last of all
    assert gradient_norm(output.reconstruction.sum(), last_layer(model)) > 0


def test_judging_teaches_the_tokenizer_and_not_the_discriminator():
    judge, pictures = adversary(), PIXELS.clone().requires_grad_()
    adversarial_loss(judge.judge(pictures)).backward()
    assert pictures.grad is not None and pictures.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in judge.discriminator.parameters())
    assert torch.equal(judge.judge(PIXELS), judge.discriminator(PIXELS))


def test_the_discriminator_learns_and_the_reconstruction_does_not():
    judge, smooth = adversary(), nn.functional.avg_pool2d(PIXELS, 3, 1, 1).requires_grad_()
    found = [float(judge.learn(PIXELS, smooth, 1e-3)) for _ in range(30)]
    assert found[-1] < 1.5  # 2 is chance
    assert smooth.grad is None
    assert all(parameter.grad is None for parameter in judge.discriminator.parameters())


# Runs


@pytest.fixture(scope="module")
def plain(image_folder, tmp_path_factory) -> Path:
    """A run without any term, left at its checkpoint after 8 steps."""
    output = tmp_path_factory.mktemp("plain") / "run"
    with pytest.MonkeyPatch.context() as patch:
        train_until(patch, 8, tiny(image_folder, output))
    return output


def test_metrics_name_what_is_on(image_folder, tmp_path):
    train.train_tokenizer(tiny(image_folder, tmp_path, perceptual_weight=0.1, **ADVERSARY), perceptual=Network())
    lines = metrics(tmp_path)
    assert all(line.keys() == ALWAYS | {"perceptual_loss"} for line in lines[:3])
    assert all(line.keys() == ALWAYS | {"perceptual_loss"} | ADVERSARIAL for line in lines[3:])
    assert list(lines[0])[:6] == ["step", "loss", "distortion", "prefix_loss", "commitment_loss", "codebook_loss"]
    assert all(line["adversarial_scale"] > 0 for line in lines[3:])


def test_until_the_start_every_bit_is_that_of_a_run_without_the_term(plain, image_folder, tmp_path, monkeypatch):
    config = tiny(image_folder, tmp_path, **(ADVERSARY | {"adversarial_start": 8}))
    train_until(monkeypatch, 8, config)
    checkpoints = [folder / "checkpoints" / "step-00000008" for folder in (plain, tmp_path)]
    for name in ("model.safetensors", "optimizer.bin"):
        states = [(folder / name).read_bytes() for folder in checkpoints]
        assert states[0] == states[1], name
    assert metrics(tmp_path) == metrics(plain)
    fresh = seeded_discriminator(3, 16, 4, seed=0).state_dict()
    kept = load_file(checkpoints[1] / "model_1.safetensors")
    assert all(torch.equal(tensor, fresh[name]) for name, tensor in kept.items())
    without = shutil.copytree(plain, tmp_path / "without")
    train.train_tokenizer(config)
    train.train_tokenizer(tiny(image_folder, without))
    assert metrics(tmp_path)[8]["distortion"] == metrics(without)[8]["distortion"]  # measured before the step
    assert metrics(tmp_path)[9]["distortion"] != metrics(without)[9]["distortion"]


@pytest.mark.parametrize("last", [2, 6, 9])
def test_an_interrupted_run_goes_on_to_the_same_bytes(last, image_folder, tmp_path, monkeypatch):
    settings = ADVERSARY | {"perceptual_weight": 0.1}
    train.train_tokenizer(tiny(image_folder, tmp_path / "whole", **settings), perceptual=Network())
    config = tiny(image_folder, tmp_path / "interrupted", **settings)
    train_until(monkeypatch, last, config, perceptual=Network())
    torch.manual_seed(9)
    train.train_tokenizer(config, perceptual=Network())
    assert results(tmp_path / "interrupted") == results(tmp_path / "whole")


def test_the_discriminator_is_in_checkpoints_and_not_in_the_result(image_folder, tmp_path, monkeypatch):
    config = tiny(image_folder, tmp_path, perceptual_weight=0.1, **ADVERSARY)
    train_until(monkeypatch, 8, config, perceptual=Network())
    folder = tmp_path / "checkpoints" / "step-00000008"
    fresh = seeded_discriminator(3, 16, 4, seed=0).state_dict()
    kept = load_file(folder / "model_1.safetensors")
    assert kept.keys() == fresh.keys()
    assert not torch.equal(kept["layers.0.weight"], fresh["layers.0.weight"])
    assert not (folder / "model_2.safetensors").exists()  # the perceptual network is nobody's state
    train.train_tokenizer(config, perceptual=Network())
    tokenizer = ImageTokenizer(config.model_config())
    assert load_file(tmp_path / "model.safetensors").keys() == tokenizer.state_dict().keys()
    assert not list(tmp_path.rglob("model_1*"))


def test_the_same_seed_gives_the_same_bytes_and_another_discriminator_does_not(image_folder, tmp_path):
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        train.train_tokenizer(tiny(image_folder, tmp_path / name, seed=seed, **ADVERSARY))
    assert results(tmp_path / "one") == results(tmp_path / "same")
    assert results(tmp_path / "one")[0] != results(tmp_path / "other")[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_two_processes_train_like_one(image_folder, tmp_path):
    torch.jit.save(torch.jit.trace(Network(), PIXELS), tmp_path / "network.pt")
    settings = ADVERSARY | {"perceptual": str(tmp_path / "network.pt"), "perceptual_weight": 0.1, "adversarial_ramp": 0}
    one = tiny(image_folder, tmp_path / "one", **settings)
    train.train_tokenizer(one)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    changed = TINY | settings | {"data": image_folder}
    options = [part for name, value in changed.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [*torchrun, "-m", "pictogram.tokenizer.train", *options, "--output", str(tmp_path / "two"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["num_images"] == 24
    for two_line, one_line in zip(metrics(tmp_path / "two"), metrics(tmp_path / "one"), strict=True):
        assert two_line == pytest.approx(one_line, rel=1e-3, abs=1e-4)
    tensors = [load_file(tmp_path / name / "model.safetensors") for name in ("one", "two")]
    for name, tensor in tensors[0].items():
        assert torch.allclose(tensors[1][name], tensor, rtol=1e-3, atol=1e-3), name


@pytest.mark.parametrize("settings", [{"mixed_precision": "bf16"}, {"num_channels": 1}, {"optimizer": "muon"}])
def test_beside_other_options(settings, image_folder, tmp_path):
    config = tiny(image_folder, tmp_path, perceptual_weight=0.1, **(ADVERSARY | settings))
    train.train_tokenizer(config, perceptual=Network(settings.get("num_channels", 3)))
    assert metrics(tmp_path)[-1].keys() == ALWAYS | {"perceptual_loss"} | ADVERSARIAL


def test_the_decoder_alone_learns_by_both_terms(image_folder, tmp_path):
    train.train_tokenizer(tiny(image_folder, tmp_path / "first"))
    config = dataclasses.replace(
        tiny(image_folder, tmp_path / "second", perceptual_weight=0.1, **ADVERSARY),
        start_from=str(tmp_path / "first"),
        freeze="encoder,codebook",
    )
    train.train_tokenizer(config, perceptual=Network())
    tensors = [load_file(tmp_path / name / "model.safetensors") for name in ("first", "second")]
    changed = {name.split(".")[0] for name in tensors[0] if not torch.equal(tensors[0][name], tensors[1][name])}
    assert changed == {"decoder"}


# Do the terms train, and what do they cost?

LONG = {"num_steps": 150, "hidden_size": 16, "codebook_sizes": "8,16,16", "learning_rate": 5e-3, "log_every": 10}
LONG |= {"batch_size": 16, "checkpoint_every": 50}


@pytest.fixture(scope="module")
def gradients(tmp_path_factory) -> Path:
    """48 pictures of 16x16 pixels: two colours blending across, with a square of a third one."""
    folder = tmp_path_factory.mktemp("gradients")
    generator = np.random.default_rng(0)
    share = np.arange(16)[:, None, None] / 15
    for index in range(48):
        left, right, ink = generator.uniform(0, 255, (3, 3))
        blend = (share * left + (1 - share) * right) * np.ones((16, 16, 1))
        row, column = generator.integers(0, 10, 2)
        blend[row : row + 6, column : column + 6] = ink
        Image.fromarray((blend if index % 2 else blend.swapaxes(0, 1)).astype(np.uint8)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def plain_long(gradients, tmp_path_factory) -> tuple[Path, float]:
    """A long run without any term, and its dB."""
    output = tmp_path_factory.mktemp("long") / "run"
    return output, run_long(gradients, output)


def run_long(data: Path, output: Path, **settings) -> float:
    network = Network() if settings.get("perceptual_weight") else None
    train.train_tokenizer(tiny(data, output, **(LONG | settings)), perceptual=network)
    return read_json(output / "complete.json")["train"]["psnr"][-1]


def perceptual_distance(folder: Path, data: Path) -> float:
    loaded = load_image_tokenizer(folder)
    pixels = load_pixels(str(data), "train", loaded.processor)[0].pixels(range(48))
    return float(PerceptualLoss(Network())(loaded.model.decode(loaded.model.encode(pixels)), pixels))


def test_the_perceptual_term_trains(plain_long, gradients, tmp_path):
    plain, plain_psnr = plain_long
    assert run_long(gradients, tmp_path, perceptual_weight=0.1) > plain_psnr - 0.5
    found = [line["perceptual_loss"] for line in metrics(tmp_path)]
    assert found[-1] < 0.5 * found[0]
    distances = [perceptual_distance(folder, gradients) for folder in (tmp_path, plain)]
    assert distances[0] < 0.95 * distances[1]


def test_the_adversarial_term_trains(plain_long, gradients, tmp_path, monkeypatch):
    settings = {"adversarial_weight": 0.3, "adversarial_start": 40, "adversarial_ramp": 20}
    config = tiny(gradients, tmp_path, **(LONG | settings))
    train_until(monkeypatch, 101, config)
    state = tmp_path / "checkpoints" / "step-00000100"
    assert accuracy(state, config.model_config(), gradients) > 0.6
    assert run_long(gradients, tmp_path, **settings) > plain_long[1] - 0.5
    lines = [line for line in metrics(tmp_path) if "discriminator_loss" in line]
    assert min(line["discriminator_loss"] for line in lines) < 1.8  # 2 is the least without looking at the pictures


def accuracy(checkpoint: Path, config: ImageTokenizerConfig, data: Path) -> float:
    """Share of patches that a checkpoint's discriminator calls rightly, real or made by the checkpoint's tokenizer."""
    tokenizer, judge = ImageTokenizer(config).eval(), seeded_discriminator(3, 16, 8, seed=0)
    tokenizer.load_state_dict(load_file(checkpoint / "model.safetensors"))
    judge.load_state_dict(load_file(checkpoint / "model_1.safetensors"))
    pixels = load_pixels(str(data), "train", TokenizerTrainingConfig(image_size=16).image_processor())[0].pixels(
        range(48)
    )
    with torch.no_grad():
        made = tokenizer(pixels).reconstruction
        right = (judge(pixels) > 0).float().mean() + (judge(made) < 0).float().mean()
    return float(right) / 2


# Mistakes


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"perceptual_weight": -1.0}, "perceptual_weight must be at least 0, got -1.0"),
        ({"perceptual_weight": float("nan")}, "perceptual_weight must be at least 0, got nan"),
        ({"adversarial_weight": -0.1}, "adversarial_weight must be at least 0, got -0.1"),
        ({"adversarial_weight": 0.1, "adversarial_start": 12}, "adversarial_start 12 must be below num_steps 12"),
        ({"adversarial_weight": 0.1}, "adversarial_start 1000 must be below num_steps 12"),
        ({"adversarial_start": -1}, "adversarial_start must be at least 0"),
        ({"adversarial_ramp": -1}, "adversarial_ramp must be at least 0"),
        ({"perceptual_weight": 0.1}, "perceptual_weight 0.1 needs a network"),
        ({"perceptual": "there.pt"}, "perceptual has no effect at perceptual_weight 0"),
        ({"perceptual": "there.pt", "perceptual_weight": 1.0}, r"must be a TorchScript file .* got 'there\.pt'"),
    ],
)
def test_mistakes(settings, message, image_folder, tmp_path):
    with pytest.raises(InputError, match=message):
        train.train_tokenizer(tiny(image_folder, tmp_path / "run", **settings))
    assert not (tmp_path / "run").exists()


class Broken(nn.Module):
    def forward(self, pixel_values):
        return pixel_values * float("nan")


def test_networks_that_do_not_serve(image_folder, tmp_path):
    for network, message in (
        (Broken(), "NaN"),
        (nn.Linear(3, 3), "fails on pictures"),
        (Network(1), "fails on pictures"),
    ):
        with pytest.raises(InputError, match=message):
            train.train_tokenizer(tiny(image_folder, tmp_path / "run", perceptual_weight=1.0), perceptual=network)
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="perceptual came twice"):
        config = tiny(image_folder, tmp_path / "run", perceptual="there.pt", perceptual_weight=1.0)
        train.train_tokenizer(config, perceptual=Network())


def test_a_frozen_decoder_cannot_be_judged():
    with pytest.raises(InputError, match="needs a decoder that learns"):
        TokenizerTrainingConfig(start_from="there", freeze="decoder", adversarial_weight=0.1)


def test_pictures_too_small_to_judge(image_folder, tmp_path):
    settings = {"image_size": 4, "strides": "4", "codebook_sizes": "4", "num_steps": 4}
    with pytest.raises(InputError, match="at least 6 pixels a side, got 4"):
        train.train_tokenizer(tiny(image_folder, tmp_path / "run", **(settings | ADVERSARY)))


def test_another_network_is_another_run(image_folder, tmp_path):
    train.train_tokenizer(tiny(image_folder, tmp_path, perceptual_weight=0.1), perceptual=Network())
    changed = Network()
    nn.init.zeros_(changed.second.weight)
    with pytest.raises(InputError, match="perceptual_network"):
        train.train_tokenizer(tiny(image_folder, tmp_path, perceptual_weight=0.1), perceptual=changed)
