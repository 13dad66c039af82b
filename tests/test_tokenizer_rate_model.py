"""The tokenizer's own model of what its codes cost."""

from typing import cast

import pytest
import torch
from tiny_model import SHAPES, ema_codebooks, equal, make, pictures

from pictogram.hub.errors import InputError
from pictogram.tokenizer.code_usage import Revival
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.rate_model import LevelRate, RateModel, code_bits, soft_bits


def rated(weight=1e4, **settings) -> ImageTokenizer:
    return make(rate_weight=weight, **settings)


def rate_model(model: ImageTokenizer) -> RateModel:
    assert model.rate_model is not None
    return model.rate_model


def test_chances_of_a_code_know_only_what_comes_before():
    torch.manual_seed(0)
    level = LevelRate(7, 4, 8, has_context=True, has_neighbours=True).eval()
    context, vectors = torch.randn(1, 8, 5, 6), torch.randn(1, 4, 5, 6, requires_grad=True)
    logits = level(context, vectors)
    assert logits.shape == (1, 7, 5, 6)
    for row, column in ((0, 0), (2, 3), (4, 5), (3, 0)):
        (gradient,) = torch.autograd.grad(logits[0, :, row, column].sum(), vectors, retain_graph=True)
        reached = {(int(r), int(c)) for r, c in gradient[0].abs().sum(0).nonzero()}
        before = {(r, c) for r in range(row - 2, row + 1) for c in range(column - 2, column + 3)}
        before = {(r, c) for r, c in before if r >= 0 and 0 <= c < 6 and (r < row or c < column)}
        assert reached == before


def test_the_first_level_has_a_histogram_only():
    level = LevelRate(3, 4, 8, has_context=False, has_neighbours=False)
    with torch.no_grad():
        level.bias.copy_(torch.tensor([0.5, 0.25, 0.25]).log())
    bits = code_bits(level(None, torch.randn(5, 4, 1, 1)))
    assert torch.allclose(bits, torch.tensor([1.0, 2.0, 2.0]).expand(5, 3))


def test_soft_choices_pull_latents_towards_cheap_codes():
    table = torch.tensor([[-1.0], [1.0]])
    latents = torch.zeros(1, 1, 1, 1, requires_grad=True)
    expected = soft_bits(latents, table, torch.tensor([[1.0, 3.0]]), scale=1.0, rate_weight=0.1)
    assert 1.0 < float(expected.detach()) < 2.0  # both are as near, and one is cheaper
    (gradient,) = torch.autograd.grad(expected, latents)
    assert float(gradient) > 0  # downhill is towards -1


def test_without_a_weight_nothing_is_there():
    model = make()
    assert model.rate_model is None
    assert not any("rate" in name for name in model.state_dict())
    assert model(pictures(2)).rate is None


def test_the_rate_counts_in_the_loss_and_reaches_the_encoder():
    model = rated().train()
    output = model(pictures(4))
    assert output.rate is not None and output.loss is not None and float(output.rate) > 0
    free = rated().train()
    rate_model(free).warmth = 0.0
    assert float(output.loss.detach()) > float(free(pictures(4)).loss.detach())
    gradients = []
    for each in (model, free):
        each(pictures(4)).loss.backward()
        gradients.append(torch.cat([p.grad.flatten() for p in each.encoder.parameters() if p.grad is not None]))
        assert all(parameter.grad is not None for parameter in rate_model(each).parameters())
    assert not torch.allclose(*gradients)


def test_the_rate_model_learns_from_codes_alone():
    """What teaches it changes nothing else: its own bits reach neither encoder nor decoder."""
    model = rated().train()
    rate_model(model).warmth = 0.0
    plain = make().train()
    plain.load_state_dict(model.state_dict(), strict=False)
    for each in (model, plain):
        each(pictures(4)).loss.backward()
    found = dict(model.named_parameters())
    for name, parameter in plain.named_parameters():
        grad = found[name].grad
        assert (parameter.grad is None) == (grad is None)
        if parameter.grad is not None and grad is not None:
            assert torch.allclose(parameter.grad, grad, atol=1e-7), name


def test_codes_are_chosen_by_bits_and_errors():
    model, plain = rated(), make()
    plain.load_state_dict(model.state_dict(), strict=False)
    pixel_values = pictures(16)
    for level in rate_model(model).levels:
        with torch.no_grad():
            cast(LevelRate, level).bias[2] += 20  # one code of each level is nearly free
    rate_model(model).scales.fill_(1e12)
    assert all(equal(model.encode(pixel_values), plain.encode(pixel_values)))  # errors are all that counts
    rate_model(model).scales.fill_(1e-12)
    assert all(bool((level == 2).all()) for level in model.encode(pixel_values))


@pytest.mark.parametrize("shape", SHAPES)
def test_every_layout_of_levels_has_a_rate(shape):
    model = make(rate_weight=1.0, **shape).train()
    output = model(pictures(2)[:, : model.config.num_channels])
    assert output.rate is not None and float(output.rate) > 0


def test_half_precision_does_not_reach_soft_choices():
    table = 3 + 0.1 * torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    latents = (3 + 0.1 * torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(1))).requires_grad_()
    bits = torch.rand(18, 9, generator=torch.Generator().manual_seed(2)) * 9
    expected = soft_bits(latents, table, bits, 1.0, 0.001)
    with torch.autocast("cpu", torch.bfloat16):
        found = soft_bits(latents, table, bits, 1.0, 0.001)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_encode_in_half_precision(dtype):
    model, pixel_values = rated(), pictures(3)
    expected = model.encode(pixel_values)
    for found, codes in zip(model.to(dtype).encode(pixel_values.to(dtype)), expected, strict=True):
        assert found.shape == codes.shape and found.dtype == torch.int64


def test_encode_does_not_depend_on_the_batch():
    model, pixel_values = rated(), pictures(5)
    alone = [model.encode(picture[None]) for picture in pixel_values]
    together = model.encode(pixel_values)
    assert all(equal(together, tuple(torch.cat(levels) for levels in zip(*alone, strict=True))))


def test_saved_and_loaded(tmp_path):
    model = rated()
    rate_model(model).scales.copy_(torch.tensor([1.0, 2.0, 3.0]))
    model.save_pretrained(tmp_path)
    loaded = ImageTokenizer.from_pretrained(tmp_path).eval()
    assert loaded.config.rate_weight == 1e4
    assert rate_model(loaded).scales.tolist() == [1.0, 2.0, 3.0]
    assert all(equal(loaded.encode(pictures(4)), model.encode(pictures(4))))


def test_what_decides_codes_is_in_their_fingerprint():
    images = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16})
    model, other, scaled, lighter = rated(), rated(), rated(), rated(weight=1.0)
    with torch.no_grad():
        next(rate_model(other).parameters())[0] += 1
    rate_model(scaled).scales.mul_(2)
    prints = [codes_fingerprint(each, images) for each in (model, other, scaled, lighter)]
    assert len(set(prints)) == 4
    assert decoder_fingerprint(model) == decoder_fingerprint(other)


@pytest.mark.parametrize("settings", [{"rate_weight": -1.0}, {"rate_weight": float("inf")}])
def test_weights_outside_their_range(settings):
    with pytest.raises(InputError, match="rate_weight must be at least 0 and finite"):
        ImageTokenizerConfig(**settings)


def test_a_rate_needs_a_codebook():
    with pytest.raises(InputError, match="rate_weight needs the quantizer \"ema\", got 'fsq'"):
        ImageTokenizerConfig(quantizer="fsq", codebook_sizes=[64, 125, 125], rate_weight=1.0)


@pytest.mark.parametrize("context", [True, False])
def test_a_revived_code_shares_the_chances_of_its_neighbour(context):
    torch.manual_seed(0)
    level = LevelRate(5, 4, 8, has_context=context, has_neighbours=context)
    with torch.no_grad():
        level.bias.copy_(torch.tensor([0.0, 1.0, -30.0, 2.0, 0.5]))  # code 2 has fallen out of use
    inputs = torch.randn(2, 8, 3, 3), torch.randn(2, 4, 3, 3)
    before = code_bits(level(*inputs))
    level.split(Revival(dead=torch.tensor([2]), busy=torch.tensor([3]), noise=torch.zeros(1, 4)))
    after = code_bits(level(*inputs))
    assert torch.allclose(after[:, 3], before[:, 3] + 1, atol=1e-4)
    assert torch.equal(after[:, 2], after[:, 3])
    assert torch.allclose(after[:, [0, 1, 4]], before[:, [0, 1, 4]], atol=1e-4)


def test_codes_that_a_model_revives_become_affordable():
    model = rated().train()
    level, codebook = cast(LevelRate, rate_model(model).levels[1]), ema_codebooks(model)[1]
    with torch.no_grad():
        level.bias[0] = -50.0
        codebook.counts[0] = 0.0
    output = model(pictures(4))
    assert output.codes is not None and not (output.codes[1] == 0).any()
    model.update_codebooks(output)
    assert float(codebook.counts[0]) > 0.0
    assert float(level.bias.detach()[0]) > -10.0
