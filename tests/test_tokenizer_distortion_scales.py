"""Pixel errors of latent errors."""

from typing import Any, cast

import pytest
import torch
from tiny_chain import image_tokenizer

from pictogram.hub.errors import InputError
from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig
from pictogram.tokenizer.distortion_scales import _some, distortion_scales


def pixels(count: int = 24, seed: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_scales_turn_latent_errors_into_pixel_errors():
    """Ten times the latents, a hundredth of the scale: the same pictures."""
    model, pixel_values = image_tokenizer(), pixels()
    scales = distortion_scales(model, pixel_values, 2)
    assert len(scales) == 2 and min(scales) > 0
    assert scales == distortion_scales(model, pixel_values, 2)
    assert len(distortion_scales(model, pixel_values, 1)) == 1
    with torch.no_grad():
        last, read = cast(Any, model.encoder.to_latents[1]), cast(Any, model.decoder.steps[1]).read
        last.weight.mul_(10)
        if last.bias is not None:
            last.bias.mul_(10)
        cast(Any, model.codebooks[1]).embedding.weight.mul_(10)
        read.weight.div_(10)
    assert distortion_scales(model, pixel_values, 2)[1] == pytest.approx(scales[1] / 100, rel=1e-3)


def test_every_picture_has_its_share_of_swapped_codes():
    for cells, expected in ((1, 1), (4, 1), (16, 2), (64, 8)):
        chosen = _some(5, cells, torch.Generator().manual_seed(0)).view(5, cells)
        assert chosen.sum(1).tolist() == [expected] * 5


def test_other_projects_networks_show_no_latents():
    model = AdaptedTokenizer(AdaptedTokenizerConfig(layout="vqvae2", settings={"channel": 8, "n_embed": 16}))
    with pytest.raises(InputError, match="AdaptedTokenizer shows no latents to weigh"):
        distortion_scales(model, torch.zeros(1, 3, 32, 32), 2)
