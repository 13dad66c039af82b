from typing import Any, cast

import pytest
import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from pictogram.hub.errors import InputError
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.ema_codebook import EMACodebook
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.model import ImageCodes, ImageTokenizer

SHAPES = [
    {"strides": [8], "patch_size": 4},
    {"strides": ["image", 8], "patch_size": 8},
    {"strides": [8, 4], "patch_size": 2},
    {"strides": ["image", 8, 4], "patch_size": 4},
    {"strides": [4, 4, 4], "patch_size": 4},  # a residual quantizer: equal grids
    {"strides": ["image", 8, 8, 2], "patch_size": 1},
]


def make(seed: int = 0, **settings: Any) -> ImageTokenizer:
    """A random tokenizer whose codes vary from picture to picture."""
    torch.manual_seed(seed)
    strides = settings.pop("strides", ["image", 8, 4])
    settings = {"image_size": 16, "hidden_size": 8, "codebook_dim": 4} | settings
    sizes = [5, 6, 7, 8][: len(strides)]
    model = ImageTokenizer(ImageTokenizerConfig(strides=strides, codebook_sizes=sizes, **settings)).eval()
    with torch.no_grad():
        for absent in model.decoder.absent:
            absent.normal_()
    model.start_codebooks(pictures(8, 16, 16, seed=1), seed=0)
    return model


def pictures(count: int, height: int = 16, width: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def ema_codebooks(model: ImageTokenizer) -> list[EMACodebook]:
    return cast(list[EMACodebook], list(model.codebooks))


def random_codes(model: ImageTokenizer, like: ImageCodes, seed: int = 0) -> ImageCodes:
    generator = torch.Generator().manual_seed(seed)
    sizes = model.config.codebook_sizes
    return tuple(torch.randint(size, level.shape, generator=generator) for size, level in zip(sizes, like, strict=True))


def equal(first: ImageCodes, second: ImageCodes) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(first, second, strict=True)]


# Shapes


@pytest.mark.parametrize("settings", SHAPES)
@pytest.mark.parametrize(("height", "width"), [(16, 16), (8, 24)])
def test_codes_and_pixels_of_every_prefix(settings, height, width):
    model, pixel_values = make(**settings), pictures(3, height, width)
    codes = model.encode(pixel_values)
    grids = model.config.grids(height, width)
    assert [level.shape for level in codes] == [(3, *grid) for grid in grids]
    for level, size in zip(codes, model.config.codebook_sizes, strict=True):
        assert level.dtype == torch.int64
        assert 0 <= level.min() <= level.max() < size
    for num_levels in range(1, len(codes) + 1):
        decoded = model.decode(codes, num_levels)
        assert decoded.shape == pixel_values.shape
        assert decoded.abs().max() <= 1
        assert not decoded.requires_grad
    assert torch.equal(model.decode(codes), model.decode(codes, len(codes)))


def test_codes_use_more_than_one_entry():
    assert all(len(level.unique()) > 1 for level in make().encode(pictures(8)))


# Levels


@pytest.mark.parametrize("settings", SHAPES)
def test_finer_codes_have_no_effect_on_a_prefix(settings):
    model = make(**settings)
    codes = model.encode(pictures(2, 8, 24))
    for num_levels in range(1, len(codes) + 1):
        others = random_codes(model, codes, seed=num_levels)
        expected = model.decode(codes, num_levels)
        assert torch.equal(model.decode((*codes[:num_levels], *others[num_levels:]), num_levels), expected)
        if num_levels > model.config.has_image_level:
            assert torch.equal(model.decode(codes[:num_levels], num_levels), expected)
        if num_levels < len(codes):
            assert not torch.equal(model.decode(codes), expected)


def test_a_whole_image_code_alone_draws_the_training_size():
    model = make(image_size=24)
    codes = model.encode(pictures(2, 24, 24))
    assert torch.equal(model.decode(codes[:1], 1), model.decode(codes, 1))
    other_size = model.encode(pictures(2, 8, 16))
    assert model.decode(other_size[:1], 1).shape == (2, 3, 24, 24)
    assert model.decode(other_size, 1).shape == (2, 3, 8, 16)


def test_every_level_has_an_effect():
    model = make()
    codes = model.encode(pictures(2))
    expected = model.decode(codes)
    for level, size in enumerate(model.config.codebook_sizes):
        changed = [(grid + 1) % size if index == level else grid for index, grid in enumerate(codes)]
        assert not torch.equal(model.decode(changed), expected)


def test_finer_codebooks_change_no_coarser_code():
    pixel_values = pictures(4)
    codes = make().encode(pixel_values)
    for level in range(3):
        model = make()
        weight = ema_codebooks(model)[level].embedding.weight
        weight.copy_(weight.flip(0))
        assert equal(codes, model.encode(pixel_values))[:level] == [True] * level
        assert not torch.equal(codes[level], model.encode(pixel_values)[level])


def test_coarser_codes_change_finer_ones():
    model, pixel_values = make(), pictures(16)
    codes = model.encode(pixel_values)
    ema_codebooks(model)[0].embedding.weight.mul_(-3)
    assert not torch.equal(codes[2], model.encode(pixel_values)[2])


def test_the_decoder_changes_no_code_and_the_encoder_no_picture():
    model, pixel_values = make(), pictures(4)
    codes = model.encode(pixel_values)
    decoded = model.decode(codes)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.add_(0.1)
    assert all(equal(codes, model.encode(pixel_values)))
    assert not torch.equal(model.decode(codes), decoded)
    model = make()
    with torch.no_grad():
        for parameter in model.encoder.parameters():
            parameter.add_(0.1)
    assert torch.equal(model.decode(codes), decoded)
    assert not all(equal(codes, model.encode(pixel_values)))


def dim(model: ImageTokenizer) -> ImageTokenizer:
    """The same tokenizer with values that do not leave [-1, 1], where decoding clamps them."""
    with torch.no_grad():
        model.decoder.head[-1].project.weight.mul_(0.1)
    return model


@pytest.mark.parametrize("settings", SHAPES)
def test_training_sees_what_decoding_gives(settings):
    num_prefixes = len(settings.get("strides", ["image", 8, 4])) - 1
    model, pixel_values = dim(make(**settings, prefix_weights=[0.5, 0.25, 2.0][:num_prefixes])), pictures(5)
    output, codes = model(pixel_values), model.encode(pixel_values)
    assert all(equal(output.codes, codes))
    assert torch.equal(output.reconstruction, model.decode(codes))
    errors = [(model.decode(codes, count) - pixel_values).square().mean() for count in range(1, num_prefixes + 1)]
    expected = sum(weight * error for weight, error in zip(model.config.prefix_weights, errors, strict=True))
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


def test_a_batch_equals_its_pictures_one_by_one():
    model, pixel_values = make(), pictures(6)
    codes = model.encode(pixel_values)
    decoded = model.decode(codes)
    for row in range(6):
        assert all(equal(model.encode(pixel_values[row : row + 1]), tuple(level[row : row + 1] for level in codes)))
        single = model.decode([level[row : row + 1] for level in codes])
        torch.testing.assert_close(single, decoded[row : row + 1], rtol=1e-5, atol=1e-5)


def test_integer_types_of_codes():
    model = make()
    codes = model.encode(pictures(2))
    expected = model.decode(codes)
    for dtype in (torch.int32, torch.uint8, torch.uint16):
        assert torch.equal(model.decode([level.to(dtype) for level in codes]), expected)


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


# What decides codes, what decides pictures


def test_tensors_of_codes_and_pictures():
    model = make()
    vectors = {f"codebooks.{level}.embedding.weight" for level in range(3)}
    codes, pixels = model.codes_tensors(), model.picture_tensors()
    assert set(codes) & set(pixels) == vectors
    assert all(name.startswith(("encoder.", "codebooks.")) for name in codes)
    assert all(name.startswith(("decoder.", "codebooks.")) for name in pixels)
    statistics = {f"codebooks.{level}.{name}" for level in range(3) for name in ("counts", "sums", "num_updates")}
    assert set(model.state_dict()) - set(codes) - set(pixels) == statistics


def test_code_vectors_are_those_that_codes_are_decoded_from():
    model = make()
    for level, size in enumerate(model.config.codebook_sizes):
        vectors = model.code_vectors(level)
        assert (vectors.shape, vectors.dtype) == ((size, 4), torch.float32)
        codes = torch.arange(size).view(1, 1, size)
        assert torch.equal(model._codebooks()[level].vectors(codes)[0, :, 0].T, vectors)


def test_a_tuple_on_request():
    model, pixel_values = make(), pictures(2)
    output = model(pixel_values)
    as_tuple = model(pixel_values, return_dict=False)
    assert type(as_tuple) is tuple
    assert len(as_tuple) == len(output)
    assert torch.equal(as_tuple[0], output.loss)


# Saving


@pytest.mark.parametrize("settings", SHAPES)
def test_round_trip_is_exact(settings, tmp_path):
    model, pixel_values = make(**settings), pictures(3)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    loaded = ImageTokenizer.from_pretrained(tmp_path)
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(loaded.state_dict()[name], tensor) for name, tensor in model.state_dict().items())
    codes = model.encode(pixel_values)
    assert all(equal(loaded.encode(pixel_values), codes))
    assert torch.equal(loaded.decode(codes), model.decode(codes))


def test_auto_classes(tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    assert type(AutoConfig.from_pretrained(tmp_path)) is ImageTokenizerConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is ImageTokenizer
    assert type(AutoImageProcessor.from_pretrained(tmp_path)) is ImageTokenizerImageProcessorPil


def test_initialisation_is_reproducible_and_covers_everything():
    torch.manual_seed(0)
    config = ImageTokenizerConfig(hidden_size=8, image_size=16)
    first = ImageTokenizer(config)
    torch.manual_seed(0)
    second = ImageTokenizer(config).state_dict()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.state_dict().items())
    assert all(tensor.isfinite().all() for tensor in second.values())


# Bad input


@pytest.mark.parametrize(
    ("pixel_values", "message"),
    [
        (torch.zeros(2, 1, 16, 16), r"must be \(B, 3, H, W\), got \(2, 1, 16, 16\)"),
        (torch.zeros(3, 16, 16), r"must be \(B, 3, H, W\)"),
        (torch.zeros(0, 3, 16, 16), r"got \(0, 3, 16, 16\)"),
        (torch.zeros(2, 3, 16, 20), "multiples of 8 pixels .* got 16x20"),
        (torch.zeros(2, 3, 4, 4), "multiples of 8 pixels .* got 4x4"),
        (torch.full((1, 3, 16, 16), float("nan")), "NaN"),
        (torch.full((1, 3, 16, 16), float("inf")), "infinity"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "floats"),
    ],
)
def test_bad_pixels(pixel_values, message):
    model = make()
    for method in (model.encode, model.forward):
        with pytest.raises(InputError, match=message):
            method(pixel_values)


@pytest.mark.parametrize("num_levels", [0, 4, -1])
def test_bad_number_of_levels(num_levels):
    model = make()
    with pytest.raises(InputError, match=r"num_levels must be 1\.\.3"):
        model.decode(model.encode(pictures(1)), num_levels)


def test_bad_codes():
    model = make()
    image, coarse, fine = model.encode(pictures(2))
    for codes, message in [
        ((image, coarse), "got 3 of 2 levels"),
        ((image, coarse, fine, fine), "got 3 of 4 levels"),
        ((), "got 3 of 0 levels"),
        ((image, coarse, fine + 7), r"codes of level 2 must be 0\.\.6"),
        ((image - 9, coarse, fine), r"codes of level 0 must be 0\.\.4"),
        ((image, coarse.float(), fine), "codes of level 1 must be integers"),
        ((image, coarse[0], fine), "codes of level 1 must be integers"),
        ((image, coarse[:1], fine), r"codes of level 1 must be integers \(B, h, w\)"),
        ((image, coarse, fine[:, :3]), "grids must be"),
        ((image, coarse[:, :1], fine), "grids must be"),
        ((image.expand(-1, 2, 2), coarse, fine), "grids must be"),
        ((fine, coarse, image), "grids must be"),
    ]:
        with pytest.raises(InputError, match=message):
            model.decode(codes)
    with pytest.raises(InputError, match="grids must be"):
        model.decode((image, coarse, fine[:, :3]), 1)


def test_codes_of_a_left_out_level_may_be_anything():
    model = make()
    image, coarse, fine = model.encode(pictures(2))
    assert torch.equal(model.decode((image, coarse, fine + 1000), 2), model.decode((image, coarse, fine), 2))
