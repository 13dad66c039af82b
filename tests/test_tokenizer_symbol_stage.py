"""Whole-image codes that come before all others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pictogram.hub.errors import InputError
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.pixel_dataset import load_pixels
from pictogram.tokenizer.start import SYMBOL_TENSORS
from pictogram.tokenizer.symbol_stage import learn_symbols, random_views
from pictogram.tokenizer.train import TokenizerTrainingConfig, run_training

KINDS = 3


def stripes(folder: Path, count: int = 48) -> str:
    """Pictures of stripes in three directions, of random colours, contrasts and places: no pixel tells the kind."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:16, :16]
    for index in range(count):
        angle = np.pi * (index % KINDS) / KINDS + rng.normal(0, 0.05)
        wave = np.sin((np.cos(angle) * x + np.sin(angle) * y) * 1.2 + rng.uniform(0, 6))
        pixels = 128 + rng.uniform(30, 120) * wave[..., None] * rng.uniform(0.6, 1, 3)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:03d}.png")
    return str(folder)


def training(tmp_path: Path, **settings: Any) -> TokenizerTrainingConfig:
    defaults: dict[str, Any] = dict(
        data=stripes(tmp_path / "data"),
        output=str(tmp_path / "run"),
        image_size=16,
        codebook_sizes=f"{KINDS},8,8",
        codebook_dim=4,
        hidden_size=8,
        num_blocks=0,
        symbol_steps=60,
        symbol_neighbours=8,
        symbol_flip=False,
        num_steps=4,
        batch_size=8,
        learning_rate=1e-2,
        checkpoint_every=2,
    )
    return TokenizerTrainingConfig(**(defaults | settings))


def symbols_of(path: str, data: str) -> torch.Tensor:
    loaded = load_image_tokenizer(path)
    pictures, _ = load_pixels(data, None, loaded.processor)
    return loaded.model.encode(pictures.pixels(range(len(pictures))))[0].flatten()


def purity(codes: torch.Tensor) -> float:
    kinds = torch.arange(len(codes)) % KINDS
    table = torch.zeros(KINDS, KINDS).index_put_((codes, kinds), torch.ones(len(codes)), accumulate=True)
    return float(table.amax(1).sum() / len(codes))


def stage(config: TokenizerTrainingConfig) -> ImageTokenizer:
    torch.manual_seed(config.seed)
    model = ImageTokenizer(config.model_config()).train()
    dataset, _ = load_pixels(config.data, None, config.image_processor())
    learn_symbols(model, dataset, config)
    return model


def test_kinds_emerge_that_pixels_do_not_show(tmp_path):
    config = training(tmp_path)
    model = stage(config)
    dataset, _ = load_pixels(config.data, None, config.image_processor())
    codes = model.encode(dataset.pixels(range(len(dataset))))[0].flatten()
    assert purity(codes) > 0.9


def test_the_stage_is_deterministic_and_leaves_all_else(tmp_path):
    config = training(tmp_path, symbol_steps=3)
    torch.manual_seed(config.seed)
    before = ImageTokenizer(config.model_config()).state_dict()
    first, second = stage(config).state_dict(), stage(config).state_dict()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name
        if not name.startswith(SYMBOL_TENSORS):
            assert torch.equal(tensor, before[name]), name
    assert not torch.equal(first["encoder.to_latents.0.weight"], before["encoder.to_latents.0.weight"])


@pytest.mark.usefixtures("fresh_accelerator")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_the_training_proper_keeps_the_symbols(tmp_path, optimizer):
    config = training(tmp_path, symbol_steps=5, optimizer=optimizer, weight_decay=0.1)
    run_training(config)
    after = load_image_tokenizer(config.output).model
    assert isinstance(after, ImageTokenizer) and after.config.own_image_features
    expected = stage(config).state_dict()
    for name, tensor in after.state_dict().items():
        if name.startswith(SYMBOL_TENSORS):
            assert torch.equal(tensor, expected[name]), name


@pytest.mark.usefixtures("fresh_accelerator")
def test_symbols_stay_when_the_rest_is_trained_on(tmp_path):
    config = training(tmp_path, symbol_steps=5)
    run_training(config)
    further = training(
        tmp_path, symbol_steps=0, start_from=config.output, freeze="symbols", output=str(tmp_path / "on")
    )
    run_training(further)
    assert torch.equal(symbols_of(further.output, config.data), symbols_of(config.output, config.data))
    first, second = (load_image_tokenizer(path).model for path in (config.output, further.output))
    assert isinstance(first, ImageTokenizer) and isinstance(second, ImageTokenizer)
    assert not torch.equal(first.code_vectors(1), second.code_vectors(1))


def test_gradients_of_the_stage_do_not_count_in_the_training_proper(tmp_path):
    model = stage(training(tmp_path, symbol_steps=3))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_views_are_shifted_and_mirrored_pictures(tmp_path):
    pictures = torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    config = training(tmp_path, symbol_shift=0, symbol_flip=True)
    views = random_views(pictures, config, torch.Generator().manual_seed(0))
    same = [bool(torch.equal(view, picture)) for view, picture in zip(views, pictures, strict=True)]
    turned = [bool(torch.equal(view, picture.flip(2))) for view, picture in zip(views, pictures, strict=True)]
    assert all(a or b for a, b in zip(same, turned, strict=True)) and any(same) and any(turned)
    still = random_views(pictures, training(tmp_path, symbol_shift=0), torch.Generator().manual_seed(0))
    assert torch.equal(still, pictures)
    moved = random_views(pictures, training(tmp_path, symbol_shift=1), torch.Generator().manual_seed(0))
    assert moved.shape == pictures.shape
    assert {tuple(p[0, 2:4, 2:4].flatten().tolist()) for p in moved} != {
        tuple(p[0, 2:4, 2:4].flatten().tolist()) for p in pictures
    }


def test_mistakes_are_told(tmp_path):
    with pytest.raises(InputError, match="symbol_steps come before all else"):
        TokenizerTrainingConfig(symbol_steps=1, start_from="somewhere")
    with pytest.raises(InputError, match=r"symbol_steps keeps whole-image codes as they are, .*got rate_weight 2\.0"):
        TokenizerTrainingConfig(symbol_steps=1, rate_weight=2.0)
    with pytest.raises(InputError, match=r'own_image_features needs the level "image", got strides \[8, 4\]'):
        training(tmp_path, strides="8,4", codebook_sizes="8,8").model_config()
    with pytest.raises(InputError, match=r'symbol_steps need the quantizer "ema", got .l2'):
        training(tmp_path, quantizer="l2").model_config()
