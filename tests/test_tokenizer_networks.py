import pytest
import torch

from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.networks import Decoder, Encoder, Features


def config(strides: list[int | str], own_image_features: bool = False) -> ImageTokenizerConfig:
    return ImageTokenizerConfig(
        image_size=16,
        strides=strides,
        codebook_sizes=[4] * len(strides),
        codebook_dim=4,
        hidden_size=8,
        num_blocks=1,
        own_image_features=own_image_features,
    )


@pytest.mark.parametrize(
    ("strides", "grids"),
    [
        ([8], [(2, 3)]),
        ([8, 4], [(2, 3), (4, 6)]),
        (["image", 8, 4], [(1, 1), (2, 3), (4, 6)]),
        (["image", 8, 8, 4], [(1, 1), (2, 3), (4, 6)]),  # levels of residuals share a grid
    ],
)
def test_features_have_one_map_per_grid_coarse_to_fine(strides, grids):
    features = Features(config(strides), has_pool=strides[0] == "image")(torch.zeros(2, 3, 16, 24))
    assert [tuple(map_.shape) for map_ in features] == [(2, 8, *grid) for grid in grids]


def test_the_whole_image_may_have_features_of_its_own():
    shared, own = (Encoder(config(["image", 8, 4], own_image_features=flag), [4, 4, 4]) for flag in (False, True))
    pixel_values = torch.randn(2, 3, 16, 24)
    for encoder in (shared, own):
        assert [len(map_[0, 0].flatten()) for map_ in encoder.grid_features(pixel_values)] == [1, 6, 24]
    assert shared.image_features is None and own.image_features is not None
    own.grid_features(pixel_values)[0].sum().backward()
    assert all(parameter.grad is None for parameter in own.features.parameters())
    assert all(parameter.grad is not None for parameter in own.image_features.parameters())


def test_only_levels_that_are_read_have_a_context():
    dims = [4, 4, 4, 4]
    assert len(Encoder(config(["image", 8, 8, 4]), dims).context) == 3
    assert len(Encoder(config(["image", 8, 4, 4]), dims).context) == 2  # nobody reads what the last residual says
    assert len(Encoder(config([8]), dims[:1]).context) == 0


def test_a_decoder_reads_absent_vectors_in_place_of_left_out_levels():
    torch.manual_seed(0)
    settings = config(["image", 8, 4])
    decoder = Decoder(settings, [4, 4, 4])
    vectors = [torch.randn(2, 4, *grid) for grid in settings.grids(16, 16)]
    prefix = decoder(vectors, 2)
    assert prefix.shape == (2, 3, 16, 16)
    assert torch.equal(prefix, decoder([*vectors[:2], torch.randn(2, 4, 4, 4)], 2))
    decoder.absent[0].data.fill_(1.0)  # stands for level 1, which is there
    assert torch.equal(prefix, decoder(vectors, 2))
    decoder.absent[1].data.fill_(1.0)
    assert not torch.equal(prefix, decoder(vectors, 2))
