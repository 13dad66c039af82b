import itertools
import math

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.fsq import FSQ, channel_levels
from pictogram.tokenizer.quantizer import channels_last, nearest

SIZES = [3, 16, 64, 240, 256, 1000, 1024, 4096]


def grid(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def all_codes(size: int) -> torch.Tensor:
    return torch.arange(size).view(1, 1, size)


# Levels per channel


def test_levels_by_hand():
    assert [channel_levels(size) for size in (8, 64, 240, 256, 1000)] == [[8], [8, 8], [8, 6, 5], [8, 8, 4], [10] * 3]


def test_levels_are_the_best_factors_of_every_size():
    """Against all lists of factors there are, for every size up to 300."""
    lists: dict[int, list[tuple[int, ...]]] = {}
    for count in range(1, 6):
        for factors in itertools.combinations_with_replacement(range(16, 2, -1), count):
            lists.setdefault(math.prod(factors), []).append(factors)
    for size in range(1, 301):
        if size not in lists:
            with pytest.raises(InputError, match=rf"product of numbers 3 to 16, .* got {size}$"):
                channel_levels(size)
            continue
        levels = channel_levels(size)
        deviations = {factors: sum(abs(math.log(factor / 8)) for factor in factors) for factors in lists[size]}
        assert math.prod(levels) == size
        assert levels == sorted(levels, reverse=True)
        assert deviations[tuple(levels)] == pytest.approx(min(deviations.values()))


@pytest.mark.parametrize("size", [1, 2, 17, 34, 2 * 17, 97, 65537])
def test_impossible_sizes(size):
    with pytest.raises(InputError, match=f"got {size}"):
        FSQ(size)


# Codes and vectors


@pytest.mark.parametrize("size", SIZES)
def test_codes_and_vectors_are_a_bijection(size):
    fsq = FSQ(size)
    vectors = fsq.vectors(all_codes(size))
    assert vectors.shape == (1, fsq.dim, 1, size)
    assert vectors.dtype == torch.float32
    assert len(fsq.table().unique(dim=0)) == size
    assert torch.equal(fsq.table(), channels_last(vectors))
    assert fsq.table().abs().max() == 1
    # Latents that tanh takes to the vectors themselves, as nearly as it reaches +-1: every code can be had.
    quantized = fsq.quantize(vectors.clamp(-0.999, 0.999).atanh())
    assert torch.equal(quantized.indices, all_codes(size))
    assert torch.equal(quantized.quantized, vectors)


@pytest.mark.parametrize("size", SIZES)
def test_channels_take_evenly_spread_values(size):
    fsq = FSQ(size)
    for channel, levels in enumerate(channel_levels(size)):
        values = fsq.table()[:, channel].unique()
        torch.testing.assert_close(values, torch.linspace(-1, 1, levels))


@pytest.mark.parametrize("size", [64, 240, 1000])
def test_rounding_finds_the_nearest_vector(size):
    fsq, latents = FSQ(size), grid(4, len(channel_levels(size)), 8, 8)
    found = fsq.quantize(latents).indices.flatten()
    points, table = channels_last(latents.tanh()), fsq.table()
    expected = nearest(points, table)
    torch.testing.assert_close((points - table[found]).norm(dim=1), (points - table[expected]).norm(dim=1))
    assert (found == expected).double().mean() > 0.99


def test_quantized_is_exactly_what_decoding_sees():
    fsq, latents = FSQ(240), grid(3, 3, 4, 5)
    quantized = fsq.quantize(latents)
    assert (quantized.indices.shape, quantized.indices.dtype) == ((3, 4, 5), torch.int64)
    assert torch.equal(quantized.quantized, fsq.vectors(quantized.indices))
    assert torch.equal(quantized.latents, latents)


def test_latents_of_any_range_give_legal_codes():
    fsq = FSQ(240)
    indices = fsq.quantize(grid(2, 3, 8, 8, scale=1e4)).indices
    assert 0 <= int(indices.min()) <= int(indices.max()) < 240


# Gradients


def test_the_gradient_is_that_of_tanh():
    fsq, latents, output = FSQ(240), grid(2, 3, 4, 4).requires_grad_(), grid(2, 3, 4, 4, seed=1)
    (fsq.quantize(latents).quantized * output).sum().backward()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, output * (1 - latents.detach().tanh().square()))


def test_there_is_nothing_to_commit_to_and_nothing_to_learn():
    fsq, latents = FSQ(64), grid(1, 2, 3, 3)
    quantized = fsq.quantize(latents)
    assert quantized.commitment_loss == 0
    assert quantized.codebook_loss is None
    before = fsq.table()
    fsq.start(latents, seed=0)
    fsq.update(latents, quantized.indices)
    assert torch.equal(fsq.table(), before)
    assert list(fsq.parameters()) == []
    assert fsq.state_dict() == {}


def test_reset_restores_the_constants():
    fsq = FSQ(240)
    expected = fsq.table()
    fsq.levels.zero_()
    fsq.strides.zero_()
    fsq.reset()
    assert torch.equal(fsq.table(), expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    fsq, latents = FSQ(1000), grid(2, 3, 8, 8).to(dtype)
    expected = fsq.quantize(latents.float())
    with torch.autocast("cpu", dtype):
        quantized = fsq.quantize(latents)
    assert torch.equal(quantized.indices, expected.indices)
    assert quantized.quantized.dtype == quantized.commitment_loss.dtype == torch.float32
    assert torch.equal(fsq.to(dtype).table(), FSQ(1000).table())


@pytest.mark.parametrize("table", [{"bias": torch.zeros(64)}, {"allowed": torch.ones(64, dtype=torch.bool)}])
def test_a_grid_cannot_be_biased_or_restricted(table):
    with pytest.raises(InputError, match="FSQ has no codebook: its codes cannot be biased, restricted or grown"):
        FSQ(64).quantize(grid(1, 2, 2, 2), **table)
