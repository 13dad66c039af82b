import pytest
import torch

from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.optimizers import OPTIMIZERS, build_optimizers


def make() -> ImageTokenizer:
    torch.manual_seed(0)
    return ImageTokenizer(ImageTokenizerConfig(image_size=16, codebook_sizes=[4, 8, 8], hidden_size=8, num_blocks=1))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_trainable_parameter_is_in_exactly_one_group(name):
    model = make()
    model.encoder.features.requires_grad_(False)
    optimizers = build_optimizers(model, name, learning_rate=1e-3, weight_decay=0.0)
    held = [id(p) for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_muon_moves_matrices_by_orthogonal_steps_as_large_as_adamw():
    model = make()
    optimizers = build_optimizers(model, "muon", learning_rate=1e-2, weight_decay=0.0)
    assert [type(optimizer).__name__ for optimizer in optimizers] == ["Muon", "AdamW"]
    weight = model.get_parameter("decoder.body.0.expand.weight")  # (16, 8)
    before = weight.detach().clone()
    model(torch.rand(4, 3, 16, 16) * 2 - 1).loss.backward()
    optimizers[0].step()
    change = (weight.detach() - before) / 1e-2
    # An orthogonal 16x8 matrix has singular values 1; the factor 0.2 sqrt(16) makes its entries 0.2 RMS. Five
    # Newton-Schulz iterations bring singular values between 0.7 and 1.2.
    singular = torch.linalg.svdvals(change) / (0.2 * 16**0.5)
    assert singular.min() > 0.5
    assert singular.max() < 1.3


def test_adamw_alone_takes_everything():
    assert len(build_optimizers(make(), "adamw", learning_rate=1e-3, weight_decay=0.0)) == 1
