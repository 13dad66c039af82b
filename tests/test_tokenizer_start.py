import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pictogram.hub.errors import InputError
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.pixel_dataset import load_pixels
from pictogram.tokenizer.start import new_start
from pictogram.tokenizer.train import train_tokenizer
from pictogram.tokenizer.training_config import TokenizerTrainingConfig

pytestmark = pytest.mark.usefixtures("fresh_accelerator")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    ramp = np.arange(16) / 15
    for index in range(24):
        colour = np.random.default_rng(index).uniform(0, 255, (2, 3))
        share = np.where(index % 2, ramp[:, None, None], ramp[None, :, None])
        pixels = (share * colour[0] + (1 - share) * colour[1]) * np.ones((16, 16, 1))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:02d}.png")
    return folder


def config(data: Path, output: Path, **settings) -> TokenizerTrainingConfig:
    tiny = {
        "image_size": 16, "codebook_sizes": "4,8,8", "codebook_dim": 4, "hidden_size": 8, "num_blocks": 1,
        "num_steps": 30, "batch_size": 8, "warmup_steps": 2, "checkpoint_every": 10, "learning_rate": 1e-2,
    }  # fmt: skip
    return TokenizerTrainingConfig(data=str(data), output=str(output), **(tiny | settings))


@pytest.fixture(scope="module")
def base(data, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("base") / "run"
    train_tokenizer(config(data, output))
    return output


def continued(data: Path, output: Path, base: Path, **settings) -> TokenizerTrainingConfig:
    fresh = {"num_steps": 60, "batch_size": 8, "warmup_steps": 2, "learning_rate": 1e-2, "seed": 1}
    return TokenizerTrainingConfig(data=str(data), output=str(output), start_from=str(base), **(fresh | settings))


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_decoder_is_trained_on_without_changing_a_single_code(optimizer, data, base, tmp_path):
    train_tokenizer(continued(data, tmp_path, base, freeze="encoder,codebook", optimizer=optimizer, weight_decay=0.5))
    before, after = load_image_tokenizer(base), load_image_tokenizer(tmp_path)
    pixels, _ = load_pixels(str(data), None, before.processor)
    pixel_values = pixels.pixels(range(24))
    for old, new in zip(before.model.encode(pixel_values), after.model.encode(pixel_values), strict=True):
        assert torch.equal(old, new)
    old, new = load_file(base / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    changed = {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert changed == {"decoder"}
    assert codes_fingerprint(before.model, before.processor) == codes_fingerprint(after.model, after.processor)
    assert decoder_fingerprint(before.model) != decoder_fingerprint(after.model)
    old, new = (
        (loaded.model.decode(loaded.model.encode(pixel_values)) - pixel_values).square().mean()
        for loaded in (before, after)
    )
    assert new < old


def test_codes_chosen_by_a_rate_stay_too(data, base, tmp_path):
    rated = tmp_path / "rated"
    train_tokenizer(continued(data, rated, base, rate_weight=2e4, num_steps=12))
    train_tokenizer(continued(data, tmp_path / "on", rated, freeze="encoder,codebook", num_steps=12))
    old, new = (load_file(path / "model.safetensors") for path in (rated, tmp_path / "on"))
    assert {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])} == {"decoder"}
    before, after = load_image_tokenizer(rated), load_image_tokenizer(tmp_path / "on")
    assert codes_fingerprint(before.model, before.processor) == codes_fingerprint(after.model, after.processor)


def test_a_frozen_decoder_stays_while_the_encoder_learns(data, base, tmp_path):
    train_tokenizer(continued(data, tmp_path, base, freeze="decoder,codebook", num_steps=4))
    old, new = load_file(base / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    assert {name.split(".")[0] for name in old if not torch.equal(old[name], new[name])} == {"encoder"}


def test_going_on_starts_from_the_very_weights(data, base, tmp_path):
    start = new_start(continued(data, tmp_path, base))
    state = ImageTokenizer.from_pretrained(base).state_dict()
    assert start.is_trained
    assert all(torch.equal(tensor, state[name]) for name, tensor in start.model().state_dict().items())
    assert start.processor.size == {"height": 16, "width": 16}


def test_a_new_start_is_untrained_and_has_no_settings_of_its_own(data, tmp_path):
    start = new_start(config(data, tmp_path))
    assert not start.is_trained
    assert start.settings() == {}


def test_a_run_goes_on_only_from_the_model_it_began_with(data, base, tmp_path):
    settings = continued(data, tmp_path / "run", base, num_steps=2)
    train_tokenizer(settings)
    train_tokenizer(config(data, tmp_path / "other", seed=5))
    with pytest.raises(InputError, match="other settings"):
        train_tokenizer(dataclasses.replace(settings, start_from=str(tmp_path / "other")))


def test_mistakes(data, base, tmp_path):
    with pytest.raises(InputError, match="is not an image tokenizer"):
        train_tokenizer(continued(data, tmp_path / "run", tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"image_size is 16 in .* and stays so, got 24"):
        train_tokenizer(continued(data, tmp_path / "run", base, image_size=24))
    with pytest.raises(InputError, match=r"do_pad is False in .* and stays so, got True"):
        train_tokenizer(continued(data, tmp_path / "run", base, pad=True))
    with pytest.raises(InputError, match=r"background_colour is \(255, 255, 255\) in .* and stays so, got \(0, 0, 0\)"):
        train_tokenizer(continued(data, tmp_path / "run", base, background="black"))
    with pytest.raises(InputError, match="rate_weight needs a rate model that learns, but freeze names the encoder"):
        train_tokenizer(continued(data, tmp_path / "run", base, freeze="encoder", rate_weight=1.0))
    assert not (tmp_path / "run").exists()
