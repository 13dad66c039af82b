import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer import quantizer
from pictogram.tokenizer.quantizer import Quantizer, channels_last, nearest


def brute_force(points: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return (points.double()[:, None] - vectors.double()).square().sum(-1).argmin(1)


@pytest.mark.parametrize(("count", "size", "dim"), [(500, 64, 16), (1, 8, 4), (300, 1, 4), (40, 300, 8)])
@pytest.mark.parametrize("offset", [0.0, 5.0, 1000.0])
def test_nearest_is_exact(count, size, dim, offset):
    generator = torch.Generator().manual_seed(count + dim)
    vectors = torch.randn(size, dim, generator=generator) + offset
    # Points close to a vector: the answer does not hang on rounding.
    chosen = torch.randint(size, (count,), generator=generator)
    points = vectors[chosen] + 1e-4 * torch.randn(count, dim, generator=generator)
    assert torch.equal(nearest(points, vectors), brute_force(points, vectors))


def test_nearest_on_random_points_agrees_but_for_ties_of_rounding():
    generator = torch.Generator().manual_seed(0)
    points, vectors = torch.randn(2000, 8, generator=generator), torch.randn(100, 8, generator=generator)
    found, expected = nearest(points, vectors), brute_force(points, vectors)
    excess = (points - vectors[found]).square().sum(1) - (points - vectors[expected]).square().sum(1)
    assert excess.max() < 1e-4
    assert (found == expected).double().mean() > 0.999


def test_the_lowest_index_wins_a_tie():
    vectors = torch.tensor([[9.0, 9.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert nearest(torch.tensor([[1.0, 0.0], [0.5, 0.5]]), vectors).tolist() == [1, 1]


@pytest.mark.parametrize("size", [64, 128, 200, 512])
def test_large_codebooks_are_searched_by_groups_with_the_same_result(size):
    generator = torch.Generator().manual_seed(size)
    # Small integers: products and norms are exact, and most points have several nearest vectors.
    points, vectors = (torch.randint(-2, 3, (count, 3), generator=generator).float() for count in (700, size))
    costs = torch.cdist(points.double(), vectors.double()).square().round()
    assert (costs == costs.amin(1, keepdim=True)).sum(1).max() > 1
    assert torch.equal(nearest(points, vectors, centred=False), costs.argmin(1))
    bias = torch.randint(3, (size,), generator=generator).float()
    allowed = torch.rand(size, generator=generator) < 0.5
    expected = (costs + bias).masked_fill(~allowed, torch.inf).argmin(1)
    assert torch.equal(nearest(points, vectors, bias, allowed, centred=False), expected)


@pytest.mark.parametrize("size", [5, 128])
def test_each_point_may_have_costs_of_its_own(size):
    generator = torch.Generator().manual_seed(size)
    points, vectors = (torch.randint(-2, 3, (count, 3), generator=generator).float() for count in (1100, size))
    bias = torch.randint(9, (1100, size), generator=generator).float()
    costs = torch.cdist(points.double(), vectors.double()).square().round() + bias
    assert torch.equal(nearest(points, vectors, bias, centred=False), costs.argmin(1))
    with pytest.raises(InputError, match=rf"\(1100, {size}\), got \(1099, {size}\)"):
        nearest(points, vectors, bias[1:])


def test_points_that_are_not_finite_still_get_a_code():
    points = torch.zeros(4, 3)
    points[1], points[2, 0], points[3] = torch.nan, torch.inf, -torch.inf
    found = nearest(points, torch.randn(512, 3))
    assert (found >= 0).all() and (found < 512).all()


def test_rows_far_away_do_not_disturb_what_is_not_centred():
    generator = torch.Generator().manual_seed(0)
    points, vectors = torch.randn(300, 8, generator=generator), torch.randn(64, 8, generator=generator)
    far = torch.cat([vectors, 1e5 * torch.randn(64, 8, generator=generator)])
    assert torch.equal(nearest(points, far, centred=False), nearest(points, vectors, centred=False))


def test_vectors_that_learn_by_gradient():
    vectors = torch.nn.Parameter(torch.randn(128, 4))
    assert torch.equal(nearest(vectors.detach(), vectors), torch.arange(128))


def test_no_points():
    found = nearest(torch.zeros(0, 3), torch.zeros(4, 3))
    assert (found.shape, found.dtype) == ((0,), torch.int64)


def test_the_whole_matrix_of_distances_never_exists(monkeypatch):
    points, vectors = torch.randn(1000, 4), torch.randn(10, 4)
    expected, sizes, addmm = nearest(points, vectors), [], torch.addmm

    def measured(bias, block, other, **kwargs):
        product = addmm(bias, block, other, **kwargs)
        sizes.append(product.numel())
        return product

    monkeypatch.setattr(torch, "addmm", measured)
    monkeypatch.setattr(quantizer, "_BLOCK", 64)
    assert torch.equal(nearest(points, vectors), expected)
    assert max(sizes) <= 64
    assert sum(sizes) == 10_000


def test_float32_search_in_half_precision_and_under_autocast():
    generator = torch.Generator().manual_seed(0)
    # Vectors that bfloat16 products cannot tell apart.
    vectors = 1 + 1e-3 * torch.randn(32, 4, generator=generator)
    points = vectors[torch.randint(32, (200,), generator=generator)]
    expected = brute_force(points, vectors)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(nearest(points, vectors), expected)
    half = points.bfloat16()
    assert torch.equal(nearest(half, vectors), nearest(half.float(), vectors))


def costs_by_brute_force(points: torch.Tensor, vectors: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    costs = (points.double()[:, None] - vectors.double()).square().sum(-1)  # (N, K)
    return costs if bias is None else costs + bias.double()


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("scale", [0.0, 0.1, 3.0])
def test_nearest_with_bias_and_mask_against_brute_force(offset, scale):
    generator = torch.Generator().manual_seed(0)
    points, vectors = (torch.randn(count, 6, generator=generator) + offset for count in (1000, 50))
    bias = scale * torch.rand(50, generator=generator)
    allowed = torch.rand(50, generator=generator) < 0.3
    for given_bias, given_mask in [(bias, None), (None, allowed), (bias, allowed)]:
        costs = costs_by_brute_force(points, vectors, given_bias)
        if given_mask is not None:
            costs[:, ~given_mask] = torch.inf
        found = nearest(points, vectors, given_bias, given_mask)
        excess = costs.gather(1, found[:, None]).squeeze(1) - costs.amin(1)
        assert float(excess.max()) < 1e-4
        assert (found == costs.argmin(1)).double().mean() > 0.999


def test_what_a_code_costs_can_outweigh_its_distance():
    points, vectors = torch.tensor([[0.0], [0.4], [1.0]]), torch.tensor([[0.0], [1.0]])
    assert nearest(points, vectors).tolist() == [0, 0, 1]
    # The second point is .36 - .16 = .2 further from the second vector.
    assert nearest(points, vectors, torch.tensor([0.19, 0.0])).tolist() == [0, 0, 1]
    assert nearest(points, vectors, torch.tensor([0.21, 0.0])).tolist() == [0, 1, 1]
    assert nearest(points, vectors, torch.tensor([1.01, 0.0])).tolist() == [1, 1, 1]


def test_no_bias_and_all_allowed_change_nothing():
    generator = torch.Generator().manual_seed(0)
    points, vectors = torch.randn(500, 8, generator=generator), torch.randn(100, 8, generator=generator)
    everything = torch.ones(100, dtype=torch.bool)
    assert torch.equal(nearest(points, vectors, torch.zeros(100), everything), nearest(points, vectors))


def test_a_single_allowed_vector_is_always_chosen():
    allowed = torch.arange(10) == 7
    assert nearest(torch.randn(20, 3), torch.randn(10, 3), allowed=allowed).tolist() == [7] * 20


@pytest.mark.parametrize("count", [9, 11])
def test_bias_and_mask_of_another_length(count):
    points, vectors = torch.zeros(2, 3), torch.zeros(10, 3)
    with pytest.raises(InputError, match=rf"bias must have one entry per code, \(10,\), got \({count},\)"):
        nearest(points, vectors, torch.zeros(count))
    with pytest.raises(InputError, match=rf"allowed must have one entry per code, \(10,\), got \({count},\)"):
        nearest(points, vectors, allowed=torch.ones(count, dtype=torch.bool))


def test_nothing_allowed():
    with pytest.raises(InputError, match="at least one of the 10 codes must be allowed, got none"):
        nearest(torch.zeros(2, 3), torch.zeros(10, 3), allowed=torch.zeros(10, dtype=torch.bool))


def test_channels_last():
    grid = torch.arange(2 * 3 * 2 * 2).view(2, 3, 2, 2)
    rows = channels_last(grid)
    assert rows.shape == (8, 3)
    assert torch.equal(rows[5], grid[1, :, 0, 1])


def test_the_interface_is_abstract():
    for method in (Quantizer(2, 1, "rotation").quantize, Quantizer(2, 1, "rotation").vectors):
        with pytest.raises(NotImplementedError):
            method(torch.zeros(1, 1, 1, 1))
