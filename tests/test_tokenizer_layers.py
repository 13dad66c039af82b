import pytest
import torch

from pictogram.tokenizer.layers import (
    ChannelNorm,
    Downsample,
    ImageBroadcast,
    ImagePool,
    ResidualBlock,
    Upsample,
    blocks,
    cached_parts,
    coordinate_features,
)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_channel_norm_gives_every_cell_unit_mean_square():
    hidden = 5 * random(2, 8, 3, 4)
    out = ChannelNorm(8)(hidden)
    torch.testing.assert_close(out.square().mean(1), torch.ones(2, 3, 4), rtol=1e-4, atol=1e-4)
    assert torch.equal(ChannelNorm(8)(hidden[:, :, :2, :1]), out[:, :, :2, :1])


@pytest.mark.parametrize("grid", [(4, 4), (1, 1), (2, 5)])
def test_residual_blocks_keep_the_shape(grid):
    hidden = random(2, 6, *grid)
    assert blocks(6, 2, 3)(hidden).shape == hidden.shape
    assert torch.equal(blocks(6, 2, 0)(hidden), hidden)


def test_a_residual_block_sees_one_cell_around():
    block, hidden = ResidualBlock(4, 2), random(1, 4, 7, 7)
    changed = hidden.clone()
    changed[:, :, 3, 3] += 1
    difference = (block(changed) - block(hidden)).abs().sum((0, 1))
    assert (difference[2:5, 2:5] > 0).all()
    difference[2:5, 2:5] = 0
    assert not difference.any()


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_down_and_up_change_the_grid_by_the_factor(factor):
    hidden = random(2, 3, 4 * factor, 2 * factor)
    down = Downsample(3, 5, factor)(hidden)
    assert down.shape == (2, 5, 4, 2)
    assert Upsample(5, 3, factor)(down).shape == hidden.shape


def test_down_and_up_are_local():
    down, up, hidden = Downsample(3, 5, 2), Upsample(5, 3, 2), random(1, 3, 4, 4)
    changed = hidden.clone()
    changed[:, :, 0, 3] += 1
    difference = (up(down(changed)) - up(down(hidden))).abs().sum((0, 1)) > 0
    assert difference[:2, 2:].all()
    assert difference.sum() == 4


def test_coordinates_differ_cell_by_cell_and_do_not_depend_on_the_rest():
    features = coordinate_features(4, 6, torch.zeros(()))
    assert features.shape == (1, 16, 4, 6)
    assert len(features.flatten(2)[0].T.unique(dim=0)) == 24
    assert features.abs().max() <= 1
    assert coordinate_features(2, 3, torch.zeros((), dtype=torch.bfloat16)).dtype == torch.bfloat16
    # The centre of a picture is the centre whatever the size, and a transposed picture swaps the two halves.
    centre = coordinate_features(5, 3, torch.zeros(()))[:, :, 2, 1]
    torch.testing.assert_close(coordinate_features(1, 1, torch.zeros(()))[:, :, 0, 0], centre)
    torch.testing.assert_close(coordinate_features(6, 4, torch.zeros(())).mT.roll(8, 1), features)


@pytest.mark.parametrize("grid", [(4, 4), (1, 1), (2, 5)])
def test_pool_and_broadcast_shapes(grid):
    assert ImagePool(6, 2)(random(3, 6, *grid)).shape == (3, 6, 1, 1)
    assert ImageBroadcast(4, 6, 2)(random(3, 4, 1, 1), grid).shape == (3, 6, *grid)


def test_the_pool_sees_the_layout():
    pool, hidden = ImagePool(6, 2), random(1, 6, 4, 4)
    assert not torch.allclose(pool(hidden), pool(hidden.flip(-1)), atol=1e-4)


def test_every_cell_of_the_broadcast_differs():
    out = ImageBroadcast(4, 6, 2)(random(1, 4, 1, 1), (3, 3))
    assert len(out.flatten(2)[0].T.unique(dim=0)) == 9


def test_parts_are_all_pictures_in_order():
    pixel_values = torch.arange(5 * 3 * 4 * 4).view(5, 3, 4, 4)
    parts = cached_parts(pixel_values, 2 * 16)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert torch.equal(torch.cat(parts), pixel_values)
    assert [len(part) for part in cached_parts(pixel_values, 1)] == [1] * 5
    assert cached_parts(pixel_values.to("meta"), 1)[0].shape == pixel_values.shape
