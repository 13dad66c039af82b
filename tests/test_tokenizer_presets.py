import pytest
import torch

from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.optimizers import build_optimizers
from pictogram.tokenizer.presets import PRESETS
from pictogram.tokenizer.training_config import TokenizerTrainingConfig

GRIDS = {
    "fashion32": [(1, 1), (4, 4), (8, 8)],
    "emoji32": [(1, 1), (4, 4), (8, 8)],
    "emoji64": [(1, 1), (8, 8), (16, 16)],
    "photo64": [(1, 1), (8, 8), (8, 8), (16, 16)],
    "vqvae2-256": [(32, 32), (64, 64)],
    "vqvae2-1024": [(32, 32), (64, 64), (128, 128)],
}


def test_every_preset_is_listed_here():
    assert PRESETS.keys() == GRIDS.keys()


@pytest.mark.parametrize("name", GRIDS)
def test_a_preset_makes_the_grids_it_promises(name):
    config = TokenizerTrainingConfig(**PRESETS[name])
    model_config = config.model_config()
    assert list(model_config.grids(config.image_size, config.image_size)) == GRIDS[name]
    if name.startswith("vqvae2"):
        assert set(model_config.codebook_sizes) == {512}
        assert model_config.codebook_dim == 64


@pytest.mark.parametrize("name", ["fashion32", "emoji64", "photo64", "vqvae2-256"])
def test_a_preset_takes_a_training_step(name):
    step(name)


@pytest.mark.slow
def test_the_large_preset_takes_a_training_step_at_full_size():
    step("vqvae2-1024")


def step(name: str) -> None:
    config = TokenizerTrainingConfig(**PRESETS[name])
    size = config.image_size
    torch.manual_seed(0)
    model = ImageTokenizer(config.model_config()).train()
    pixel_values = torch.rand(2, config.num_channels, size, size) * 2 - 1
    model.start_codebooks(pixel_values, seed=0)
    optimizers = build_optimizers(model, config.optimizer, learning_rate=1e-4, weight_decay=0.0)
    losses = []
    for _ in range(2):
        output = model(pixel_values)
        output.loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        model.update_codebooks(output)
        losses.append(output.loss.item())
    assert losses[1] < losses[0]
