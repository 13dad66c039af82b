import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig


def patches(places=(), *, channels=1, size=6, seed=0) -> AdaptedTokenizer:
    """Patches of 2x2 of pictures of 4x4 pixels, drawn at random."""
    settings = {"patch_size": 2, "codebook_size": size, "num_channels": channels, "places": list(places)}
    model = AdaptedTokenizer(AdaptedTokenizerConfig(layout="patches", settings=settings, image_size=4))
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.parameters():
        tensor.data.copy_(torch.rand(tensor.shape, generator=generator) * 2 - 1)
    model.get_parameter("network.costs").data.zero_()
    return model


@pytest.mark.parametrize("places", [(), (2, 2)])
@pytest.mark.parametrize("channels", [1, 3])
def test_codes_of_decoded_codes_are_the_same(places, channels):
    model = patches(places, channels=channels)
    codes = torch.randint(6, (5, 2, 2), generator=torch.Generator().manual_seed(1))
    pixels = model.decode([codes])
    assert pixels.shape == (5, channels, 4, 4)
    assert model.encode(pixels)[0].equal(codes)


def test_a_patch_is_where_its_code_is():
    model = patches()
    (pixels,) = model.decode([torch.tensor([[[0, 1], [2, 3]]])])
    vectors = model.code_vectors(0)
    assert pixels[0, :2, 2:].flatten().equal(vectors[1]) and pixels[0, 2:, :2].flatten().equal(vectors[2])


def test_every_place_has_codes_of_its_own():
    model = patches((2, 2))
    (pixels,) = model.decode([torch.zeros(1, 2, 2, dtype=torch.long)])
    books = model.get_parameter("network.codebooks")  # (4, 6, 4)
    assert pixels[0, :2, 2:].flatten().equal(books[1, 0])
    assert model.code_vectors(0).shape == (6, 16)
    assert model.code_vectors(0)[0].equal(books[:, 0].flatten())
    with pytest.raises(InputError, match="pictures of 4x4 pixels has a codebook of its own, got a picture of 8x4"):
        model.encode(torch.zeros(1, 1, 8, 4))
    with pytest.raises(InputError, match="got a picture of 4x8"):
        model.decode([torch.zeros(1, 2, 4, dtype=torch.long)])


def test_shared_patches_take_pictures_of_other_sizes():
    model = patches()
    assert model.encode(torch.zeros(1, 1, 8, 2))[0].shape == (1, 4, 1)


def test_a_code_may_cost_more_than_it_spares():
    model = patches(size=2)
    books, costs = (model.get_parameter(f"network.{name}").data for name in ("codebooks", "costs"))
    books[0], costs[0] = torch.tensor([[0.0], [0.5]]).expand(2, 4), torch.tensor([0.0, 1.1])
    grey = torch.full((1, 1, 2, 2), 0.5)  # a squared distance of 4 * .25 from the free code
    assert model.encode(grey)[0].item() == 0
    costs[0, 1] = 0.9
    assert model.encode(grey)[0].item() == 1


def test_saved_and_loaded(tmp_path):
    from pictogram.tokenizer.fingerprints import decoder_fingerprint

    model = patches((2, 2))
    model.save_pretrained(tmp_path)
    found = AdaptedTokenizer.from_pretrained(tmp_path)
    assert decoder_fingerprint(found) == decoder_fingerprint(model)
    assert found.config.settings == model.config.settings


@pytest.mark.parametrize("places", [[2], [2, 2, 2], [0, 4]])
def test_places_are_rows_and_columns(places):
    with pytest.raises(InputError, match="places must be rows and columns, or empty"):
        AdaptedTokenizerConfig(layout="patches", settings={"places": places})
