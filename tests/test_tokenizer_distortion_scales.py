"""Pixel errors of latent errors."""

from typing import Any, cast

import pytest
import torch
from tiny_chain import image_tokenizer

from pictogram.hub.errors import InputError
from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.distortion_scales import _some, chosen_scales, distortion_scales, measured_scales
from pictogram.tokenizer.model import ImageTokenizer


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


def rated(scale: float = 1.0, rate_weight: float = 1.0) -> Any:
    """The tiny tokenizer with a model of the rate whose scales are all `scale`."""
    plain = image_tokenizer()
    model = ImageTokenizer(ImageTokenizerConfig.from_dict(plain.config.to_dict() | {"rate_weight": rate_weight})).eval()
    model.load_state_dict(plain.state_dict(), strict=False)
    assert model.rate_model is not None
    model.rate_model.scales.fill_(scale)
    with torch.no_grad():  # chances far from equal
        for level in cast(Any, model.rate_model.levels):
            level.bias.copy_(torch.linspace(0, 3, len(level.bias)))
    return model


def test_scales_of_chosen_codes_are_those_of_the_pictures():
    """By hand, of the last level: pixels lost over latents lost, where bits choose the codes and where they do not."""
    model, pixel_values = rated(rate_weight=0.5), pixels()
    with torch.no_grad():
        encoding = model.encoding(pixel_values)
        first = image_tokenizer().encode(pixel_values)[0]
        encoding.next_latents()
        encoding.take(model.embed_codes(0, first))
        latents = encoding.next_latents()
        chosen = model.choose_codes(1, latents, encoding.context)
        distances = torch.cdist(latents.flatten(2).movedim(1, 2), model.code_vectors(1)).square()  # (B, 4, K)
        near = distances.argmin(2).view_as(chosen)
        assert not torch.equal(near, chosen)
        lost = distances.gather(2, chosen.flatten(1)[..., None]).sum() - distances.amin(2).sum()
        errors = [float((model.decode([first, codes]) - pixel_values).square().sum()) for codes in (chosen, near)]
    expected = (errors[0] - errors[1]) * 127.5**2 / float(lost)
    assert chosen_scales(model, pixel_values, 2)[1] == pytest.approx(max(1e-6, expected), rel=1e-3)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e9])
def test_measured_scales_are_bounded_by_those_apart(scale):
    """However few codes bits change, and whatever the scales are now: a quotient of two small numbers is noise."""
    model = rated(scale)
    model.rate_model.warmth = 1e-4
    apart = torch.tensor(distortion_scales(model, pixels(), 2, seed=5))
    found = measured_scales(model, pixels(), 5)
    assert bool((found >= apart).all()) and bool((found <= 8 * apart).all())
    assert model.rate_model.warmth == 1e-4
    assert torch.equal(measured_scales(image_tokenizer(), pixels(), 5), apart)
