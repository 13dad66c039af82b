import numpy as np
import pytest
import torch
from PIL import Image
from tiny_adapters import adapted, pixels
from transformers import Emu3ImageProcessor

from pictogram.hub.errors import InputError
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.layout_emu3 import Emu3Layout


@pytest.fixture(scope="module")
def tokenizer():
    return adapted("emu3")


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 24)])
def test_codes_and_pictures_are_those_of_transformers(height, width, tokenizer):
    model, pixel_values = tokenizer.network.model, pixels(3, height, width)
    (codes,) = tokenizer.encode(pixel_values)
    with torch.no_grad():
        theirs = torch.stack(model.encode(pixel_values, torch.tensor([[height, width]] * 3)).image_tokens)
        picture = model.decode(theirs)
    assert codes.shape == (3, height // 4, width // 4)
    assert codes.dtype == torch.int64
    assert len(codes.unique()) > 2
    assert torch.equal(codes, theirs)
    assert torch.equal(tokenizer.decode([codes]), picture.clamp(-1, 1))


def test_vectors_are_the_codebook(tokenizer):
    assert torch.equal(tokenizer.code_vectors(0), tokenizer.network.model.quantize.embedding.weight)


@pytest.mark.parametrize("statistics", [([0.5] * 3, [0.5] * 3), ([0.48, 0.46, 0.41], [0.27, 0.26, 0.28])])
def test_pixels_are_those_of_transformers_processor(statistics):
    mean, std = statistics
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    theirs = Emu3ImageProcessor(do_resize=False, image_mean=mean, image_std=std)(image, return_tensors="pt")
    ours = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16})(image, return_tensors="pt")
    tokenizer = adapted("emu3", pixel_mean=mean, pixel_std=std)
    expected = theirs["pixel_values"].reshape(1, 3, 16, 16).float()
    torch.testing.assert_close(tokenizer._to_network(ours["pixel_values"]), expected, rtol=0, atol=3e-6)


def test_other_statistics_come_back_as_our_pixels(tokenizer):
    other = adapted("emu3", pixel_mean=[0.4, 0.5, 0.6], pixel_std=[0.25])
    pixel_values = pixels()
    torch.testing.assert_close(other._from_network(other._to_network(pixel_values)), pixel_values)
    (codes,) = tokenizer.encode(pixel_values)
    shown = (tokenizer.network.decode([codes], 1) * 0.25 + torch.tensor([0.4, 0.5, 0.6])[:, None, None]) * 2 - 1
    torch.testing.assert_close(other.decode([codes]), shown.clamp(-1, 1))


def test_widths_that_do_not_fit_together():
    with pytest.raises(InputError, match="hidden_size must be the coarsest grid's 128, got 64"):
        Emu3Layout.complete({"base_channels": 32, "hidden_size": 64})
