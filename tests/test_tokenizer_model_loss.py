from typing import Any

import pytest
import torch
from tiny_model import SHAPES, dim, ema_codebooks, equal, make, pictures

from pictogram.hub.errors import InputError
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.model import ImageTokenizer

# Prefixes


@pytest.mark.parametrize("settings", SHAPES)
def test_training_sees_what_decoding_gives(settings):
    num_prefixes = len(settings.get("strides", ["image", 8, 4])) - 1
    weights = [0.5, 0.25, 2.0][:num_prefixes]
    model, pixel_values = dim(make(**settings, prefix_weights=weights)), pictures(5)
    output, codes = model(pixel_values), model.encode(pixel_values)
    assert all(equal(output.codes, codes))
    assert torch.equal(output.reconstruction, model.decode(codes))
    errors = [(model.decode(codes, count) - pixel_values).square().mean() for count in range(1, num_prefixes + 1)]
    expected = sum(weight * error for weight, error in zip(weights, errors, strict=True))
    torch.testing.assert_close(output.prefix_loss, torch.as_tensor(expected, dtype=torch.float32))
    torch.testing.assert_close(
        output.loss, output.distortion + output.prefix_loss + model.config.commitment_weight * output.commitment_loss
    )


def test_pictures_count_in_prefixes_as_told():
    model, pixel_values = dim(make(prefix_weights=[0.5, 0.25])), pictures(3)
    counts = torch.tensor([[0.0, 4.0], [0.0, 0.0], [0.0, 2.0]])
    codes = model.encode(pixel_values)
    errors = (model.decode(codes, 2) - pixel_values).square().mean((1, 2, 3))
    output = model(pixel_values, counts)
    assert output.prefix_loss.item() == pytest.approx(0.25 * float((counts[:, 1] * errors).sum()) / 3, rel=1e-5)
    # A prefix that no picture counts in still reaches its parameters: under DDP other processes wait for them.
    output.loss.backward()
    assert all(absent.grad is not None for absent in model.decoder.absent)
    torch.testing.assert_close(model(pixel_values, torch.ones(3, 2)).prefix_loss, model(pixel_values).prefix_loss)


@pytest.mark.parametrize("shape", [(2, 2), (3, 1), (3, 3), (3,), (4, 2)], ids=str)
def test_counts_of_another_shape(shape):
    with pytest.raises(InputError, match=r"prefix_counts must be \(3, 2\)"):
        make()(pictures(3), torch.ones(shape))


def test_vectors_of_absent_levels_learn_only_where_a_prefix_lacks_them():
    for weights, learning in (([0, 0], [False, False]), ([0, 0.5], [False, True]), ([0.5, 0], [True, True])):
        model = make(prefix_weights=weights)
        model(pictures(2)).loss.backward()
        assert [absent.grad is not None for absent in model.decoder.absent] == learning
        assert [absent.requires_grad for absent in model.decoder.absent] == learning


def test_a_prefix_of_weight_zero_is_not_decoded(monkeypatch):
    model = make(prefix_weights=[0, 0.5])
    decoded = []
    decode = model.decoder.forward
    monkeypatch.setattr(
        model.decoder, "forward", lambda vectors, count: decoded.append(count) or decode(vectors, count)
    )
    model(pictures(2))
    assert decoded == [3, 2]


# Loss and gradients


def test_loss_is_distortion_and_weighted_commitment():
    model, pixel_values = make(commitment_weight=0.5, prefix_weights=[0, 0]), pictures(4)
    output = model(pixel_values)
    distortion = (output.reconstruction - pixel_values).square().mean()
    assert output.distortion.item() == pytest.approx(distortion.item())
    commitment = 0.0
    for codebook, latents, codes in zip(model._codebooks(), output.latents, output.codes, strict=True):
        commitment += float((latents - codebook.vectors(codes)).square().mean())
    assert output.commitment_loss.item() == pytest.approx(commitment, rel=1e-5)
    assert output.loss.item() == pytest.approx(distortion.item() + 0.5 * commitment, rel=1e-5)


def test_commitment_reaches_the_encoder_only():
    model = make()
    model(pictures(2)).commitment_loss.backward()
    assert all(parameter.grad is None for parameter in model.decoder.parameters())
    assert all(parameter.grad is None for parameter in model.codebooks.parameters())
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


def test_distortion_reaches_the_encoder_straight_through():
    model, pixel_values = make(strides=[8], patch_size=8), pictures(2)
    model(pixel_values).distortion.backward()
    projection = model.encoder.to_latents[0]
    # The same by hand: the decoder's gradient at the code vectors is the encoder's gradient at the latents.
    (level,) = model._quantize(pixel_values)
    vectors = level.quantized.detach().requires_grad_()
    distortion = (model.decoder([vectors], 1) - pixel_values).square().mean()
    (gradient,) = torch.autograd.grad(distortion, vectors)
    feature = model.encoder.features(pixel_values)[0]
    torch.testing.assert_close(projection.bias.grad, gradient.sum((0, 2, 3)))
    expected = torch.einsum("bdhw,bchw->dc", gradient, feature)
    torch.testing.assert_close(projection.weight.grad, expected)
    assert all(parameter.grad is None for parameter in model.codebooks.parameters())


def test_every_trainable_parameter_learns():
    model = make().train()
    model(pictures(4)).loss.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())]
    assert without == []
    assert {name.split(".")[0] for name, p in model.named_parameters() if not p.requires_grad} == {"codebooks"}


def test_absent_levels_send_no_gradient():
    model = make(prefix_weights=[1, 0])
    model(pictures(2)).prefix_loss.backward()
    gradients = [model.get_parameter(f"encoder.to_latents.{level}.weight").grad for level in range(3)]
    assert [gradient is not None and bool(gradient.any()) for gradient in gradients] == [True, False, False]


def test_update_moves_the_codebooks_by_the_batch():
    model, pixel_values = make(codebook_decay=0.5, revival_threshold=0.0), pictures(4)
    before = [codebook.embedding.weight.clone() for codebook in ema_codebooks(model)]
    output = model(pixel_values)
    model.update_codebooks(output)
    for codebook, old in zip(ema_codebooks(model), before, strict=True):
        assert not torch.equal(codebook.embedding.weight, old)
        assert int(codebook.num_updates) == 1
        assert codebook.embedding.weight.isfinite().all()


def test_start_gives_every_level_codes_that_fit_its_latents():
    torch.manual_seed(0)
    config = ImageTokenizerConfig(
        strides=["image", 8, 4], codebook_sizes=[8, 8, 8], image_size=16, hidden_size=8, codebook_dim=4
    )
    model, pixel_values = ImageTokenizer(config), pictures(8)
    before = model(pixel_values).commitment_loss.item()
    model.start_codebooks(pixel_values, seed=0)
    assert model(pixel_values).commitment_loss.item() < 0.7 * before
    assert all(len(level.unique()) == 8 for level in model.encode(pixel_values))


# Residual levels: what one leaves over, the next one quantizes


def residual(**settings: Any) -> ImageTokenizer:
    return make(strides=[4, 4, 4], **settings)


def test_residual_levels_quantize_exactly_what_is_left_over():
    model, pixel_values = residual(), pictures(4)
    output = model(pixel_values)
    for level in (1, 2):
        left = output.latents[level - 1] - model._codebooks()[level - 1].vectors(output.codes[level - 1])
        assert torch.equal(output.latents[level], left)
        assert torch.equal(output.codes[level], model._codebooks()[level].quantize(left).indices)
    # A grid that follows has latents of its own, which are told the codes so far.
    mixed = make(strides=["image", 8, 8, 4])
    output = mixed(pixel_values)
    left = output.latents[1] - mixed._codebooks()[1].vectors(output.codes[1])
    assert torch.equal(output.latents[2], left)
    assert output.latents[3].shape == (4, 4, 4, 4)


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_shared_latents_receive_the_gradient_of_the_distortion_once(estimator):
    model, pixel_values = residual(gradient_estimator=estimator), pictures(2)
    model(pixel_values).distortion.backward()
    found = model.encoder.to_latents[0].bias.grad
    # By hand: the decoder's gradient at the first level's vectors, through that level's estimator alone.
    levels = model._quantize(pixel_values)
    vectors = [level.quantized.detach().requires_grad_() for level in levels]
    distortion = (model.decoder(vectors, 3) - pixel_values).square().mean()
    (gradient,) = torch.autograd.grad(distortion, vectors[0])
    latents = levels[0].latents.clone().requires_grad_()
    (model._codebooks()[0].quantize(latents).quantized * gradient).sum().backward()
    assert latents.grad is not None
    torch.testing.assert_close(found, latents.grad.sum((0, 2, 3)), rtol=1e-4, atol=1e-7)


def test_every_residual_level_pulls_at_the_shared_latents_by_its_own_commitment():
    model, pixel_values = residual(), pictures(2)
    model(pixel_values).commitment_loss.backward()
    found = model.encoder.to_latents[0].bias.grad
    expected = torch.zeros(4)
    for level in model._quantize(pixel_values):
        left = level.latents - level.quantized.detach()
        expected += 2 * left.sum((0, 2, 3)) / left.numel()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_every_residual_level_lowers_the_error_of_the_latents():
    model, pixel_values = make(strides=[4, 4, 4], hidden_size=16, prefix_weights=[1, 1]), pictures(8, seed=3)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(40):
        output = model(pixel_values)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        model.update_codebooks(output)
    latents = model(pixel_values).latents
    codes = model.encode(pixel_values)
    left = [*latents, latents[-1] - model._codebooks()[-1].vectors(codes[-1])]
    errors = [float(grid.square().mean()) for grid in left]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[1]


@pytest.mark.parametrize("strides", [["image", 8, 8], [8, 8], [8, 4, 4], [8, 8, 4], [4, 4, 4]], ids=str)
def test_residual_levels_leave_no_parameter_without_gradient(strides):
    model = make(strides=strides)
    model(pictures(4)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
