import numpy as np
import pytest
import torch
from PIL import Image
from tiny_adapters import SETTINGS, adapted, pixels
from transformers.models.chameleon.image_processing_pil_chameleon import ChameleonImageProcessorPil

from pictogram.hub.errors import InputError
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.layout_chameleon import ChameleonLayout


@pytest.fixture(scope="module")
def tokenizer():
    return adapted("chameleon")


@pytest.mark.parametrize(("height", "width"), [(16, 16), (12, 24)])
def test_codes_are_those_of_transformers(height, width, tokenizer):
    pixel_values = pixels(3, height, width)
    (codes,) = tokenizer.encode(pixel_values)
    with torch.no_grad():
        theirs = tokenizer.network.model.encode(tokenizer._to_network(pixel_values)).image_tokens
    assert codes.shape == (3, height // 4, width // 4)
    assert len(codes.unique()) > 4
    assert torch.equal(codes.flatten(), theirs)


def test_pixels_are_those_of_transformers_processor(tokenizer):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    theirs = ChameleonImageProcessorPil(do_resize=False, do_center_crop=False)(image, return_tensors="pt")
    ours = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16})(image, return_tensors="pt")
    torch.testing.assert_close(
        tokenizer._to_network(ours["pixel_values"]), theirs["pixel_values"].float(), rtol=0, atol=1e-6
    )


def test_there_is_no_decoder(tokenizer):
    codes = tokenizer.encode(pixels())
    with pytest.raises(InputError, match="layout chameleon has no decoder") as raised:
        tokenizer.decode(codes)
    assert "\n" not in str(raised.value)


def test_no_attention():
    model = ChameleonLayout(SETTINGS["chameleon"] | {"attn_type": "none"})
    assert not any("attn" in name for name in model.state_dict())


def test_the_size_of_its_pictures():
    assert ChameleonLayout.image_size_of({"resolution": 64}) == 64
    assert ChameleonLayout.image_size_of({}) == 512
