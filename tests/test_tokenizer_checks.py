import pytest
import torch
from tiny_adapters import adapted

from pictogram.hub.errors import InputError
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig
from pictogram.tokenizer.checks import check_pixels, complete_codes
from pictogram.tokenizer.config import ImageTokenizerConfig

OURS = ImageTokenizerConfig(image_size=16, strides=["image", 8], codebook_sizes=[4, 5], hidden_size=8)
THEIRS = AdaptedTokenizerConfig(layout="vqvae2", settings={"n_embed": 6}, image_size=16)


def grid(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int32)


@pytest.mark.parametrize("config", [OURS, THEIRS])
@pytest.mark.parametrize(
    ("pixel_values", "message"),
    [
        (torch.zeros(3, 16, 16), r"must be \(B, 3, H, W\), got \(3, 16, 16\)"),
        (torch.zeros(1, 1, 16, 16), r"must be \(B, 3, H, W\)"),
        (torch.zeros(0, 3, 16, 16), r"got \(0, 3, 16, 16\)"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "floats in .*got torch.uint8"),
        (torch.zeros(1, 3, 16, 20), "multiples of 8 pixels .*16x20"),
        (torch.full((1, 3, 16, 16), torch.nan), "finite"),
    ],
)
def test_pixels_that_are_refused(pixel_values, message, config):
    with pytest.raises(InputError, match=message):
        check_pixels(pixel_values, config)


def test_codes_are_completed_with_zeros():
    codes = complete_codes([grid(2, 2, 3) + 5], 1, THEIRS)
    assert [tuple(level.shape) for level in codes] == [(2, 2, 3), (2, 4, 6)]
    assert codes[0].dtype == codes[1].dtype == torch.int64
    assert codes[1].eq(0).all()
    assert [tuple(level.shape) for level in complete_codes([grid(2, 1, 1)], 1, OURS)] == [(2, 1, 1), (2, 2, 2)]


@pytest.mark.parametrize(
    ("codes", "used", "message"),
    [
        ([grid(1, 2, 2)], 2, r"num_levels must be 1..2 .*got 2 of 1"),
        ([grid(1, 2, 2), grid(1, 4, 4)], 0, "got 0 of 2"),
        ([grid(1, 2, 2), grid(1, 4, 4).float()], 2, "level 1 must be integers"),
        ([grid(1, 2, 2), grid(2, 4, 4)], 2, "level 1 must be integers"),
        ([grid(1, 2, 2), grid(1, 4, 5)], 2, "grids must be"),
        ([grid(1, 2, 2), grid(1, 4, 4) + 6], 2, r"level 1 must be 0..5, got 6..6"),
        ([grid(1, 2, 2) - 1, grid(1, 4, 4)], 1, r"level 0 must be 0..5, got -1..-1"),
    ],
)
def test_codes_that_are_refused(codes, used, message):
    with pytest.raises(InputError, match=message):
        complete_codes(codes, used, THEIRS)


def test_adapted_tokenizers_check_both():
    tokenizer = adapted("vqvae2")
    with pytest.raises(InputError, match="multiples of 8"):
        tokenizer.encode(torch.zeros(1, 3, 12, 16))
    with pytest.raises(InputError, match=r"0..15, got 16..16"):
        tokenizer.decode([grid(1, 1, 1) + 16, grid(1, 2, 2)])
