import pytest
import torch
from tiny_adapters import SETTINGS, adapted, pixels
from transformers import JanusVQVAE, JanusVQVAEConfig

from pictogram.tokenizer.layout_janus import JanusLayout


@pytest.fixture(scope="module")
def tokenizer():
    return adapted("janus")


@pytest.fixture(scope="module")
def theirs(tokenizer):
    model = JanusVQVAE(JanusVQVAEConfig(**SETTINGS["janus"], num_patches=4)).eval()
    model.load_state_dict(tokenizer.network.model.state_dict())
    return model


def test_codes_and_pictures_are_those_of_transformers(tokenizer, theirs):
    pixel_values = pixels(3)
    (codes,) = tokenizer.encode(pixel_values)
    with torch.no_grad():
        tokens = theirs.encode(pixel_values).image_tokens.view(3, -1)
        picture = theirs.decode(tokens)
    assert codes.shape == (3, 4, 4)
    assert len(codes.unique()) > 4
    assert torch.equal(codes.flatten(1), tokens)
    assert torch.equal(tokenizer.decode([codes]), picture.clamp(-1, 1))


def test_other_grids_than_the_one_transformers_decodes(tokenizer):
    (codes,) = tokenizer.encode(pixels(2, 12, 24))
    assert codes.shape == (2, 3, 6)
    assert tokenizer.decode([codes]).shape == (2, 3, 12, 24)


def test_encoding_reads_the_codebook_as_it_is_and_decoding_its_directions(tokenizer):
    """Which is what transformers does, though a codebook of vectors of other lengths then codes badly."""
    other, pixel_values = adapted("janus"), pixels(3)
    assert isinstance(other.network, JanusLayout)
    (codes,) = tokenizer.encode(pixel_values)
    other.network.model.quantize.embedding.weight.mul_(torch.linspace(0.2, 5, 16)[:, None])
    assert not torch.equal(other.encode(pixel_values)[0], codes)
    torch.testing.assert_close(other.decode([codes]), tokenizer.decode([codes]))
    torch.testing.assert_close(other.code_vectors(0), tokenizer.code_vectors(0))


def test_the_size_of_its_pictures():
    assert JanusLayout.image_size_of({"num_patches": 24}) == 384
    assert JanusLayout.image_size_of({"num_patches": 4, "channel_multiplier": [1, 1, 1]}) == 16
