import pytest
import torch
from tiny_model import SHAPES, ema_codebooks, equal, make, pictures, random_codes
from transformers import AutoConfig, AutoImageProcessor, AutoModel

from pictogram.hub.errors import InputError
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.model import ImageTokenizer

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
