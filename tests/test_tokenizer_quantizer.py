import pytest
import torch

from pictogram.tokenizer import quantizer
from pictogram.tokenizer.gradients import straight_through
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


def test_straight_through_has_exactly_the_value_of_one_and_the_gradient_of_the_other():
    latents = torch.randn(100, requires_grad=True)
    quantized = torch.full((100,), 1e-3, requires_grad=True)
    out = straight_through(latents, quantized)
    assert torch.equal(out, quantized)
    weights = torch.randn(100)
    (out * weights).sum().backward()
    assert latents.grad is not None
    assert torch.equal(latents.grad, weights)
    assert quantized.grad is None


def test_channels_last():
    grid = torch.arange(2 * 3 * 2 * 2).view(2, 3, 2, 2)
    rows = channels_last(grid)
    assert rows.shape == (8, 3)
    assert torch.equal(rows[5], grid[1, :, 0, 1])


def test_the_interface_is_abstract():
    for method in (Quantizer(2, 1, "rotation").quantize, Quantizer(2, 1, "rotation").vectors):
        with pytest.raises(NotImplementedError):
            method(torch.zeros(1, 1, 1, 1))
