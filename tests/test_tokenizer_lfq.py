import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.lfq import LFQ, entropy_term
from pictogram.tokenizer.quantizer import channels_last, nearest

SIZES = [2, 4, 8, 64, 1024]


def grid(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def entropy_by_brute_force(points: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """The definition, over all N x K squared distances at temperature 1/2."""
    distances = (points[:, None] - table).square().sum(-1)
    log_chances = torch.log_softmax(-distances / 0.5, 1)
    sure = -(log_chances.exp() * log_chances).sum(1).mean()
    mean = log_chances.exp().mean(0)
    return sure + (mean * mean.log()).sum()


# Codes and vectors


@pytest.mark.parametrize("size", SIZES)
def test_codes_and_vectors_are_a_bijection(size):
    lfq, codes = LFQ(size, entropy_weight=0.1), torch.arange(size).view(1, 1, size)
    assert 2**lfq.dim == size
    vectors = lfq.vectors(codes)
    assert (vectors.shape, vectors.dtype) == ((1, lfq.dim, 1, size), torch.float32)
    assert vectors.abs().eq(1).all()
    assert len(lfq.table().unique(dim=0)) == size
    assert torch.equal(lfq.quantize(0.1 * vectors).indices, codes)
    assert torch.equal(lfq.quantize(0.1 * vectors).quantized, vectors)


@pytest.mark.parametrize("size", SIZES)
def test_signs_find_the_nearest_corner(size):
    lfq = LFQ(size, entropy_weight=0.1)
    latents = grid(3, lfq.dim, 4, 5)
    quantized = lfq.quantize(latents)
    assert torch.equal(quantized.indices.flatten(), nearest(channels_last(latents), lfq.table()))
    assert torch.equal(quantized.quantized, lfq.vectors(quantized.indices))


def test_zero_counts_as_negative():
    assert LFQ(8, entropy_weight=0.1).quantize(torch.zeros(1, 3, 2, 2)).indices.eq(0).all()


@pytest.mark.parametrize("size", [0, 1, 3, 6, 100, 1000])
def test_sizes_must_be_powers_of_two(size):
    with pytest.raises(InputError, match=f"must be a power of 2 and at least 2, got {size}"):
        LFQ(size, entropy_weight=0.1)


@pytest.mark.parametrize("table", [{"bias": torch.zeros(8)}, {"allowed": torch.ones(8, dtype=torch.bool)}])
def test_a_grid_cannot_be_biased_or_restricted(table):
    with pytest.raises(InputError, match="LFQ has no codebook"):
        LFQ(8, entropy_weight=0.1).quantize(grid(1, 3, 2, 2), **table)


def test_reset_restores_the_constants():
    lfq = LFQ(64, entropy_weight=0.1)
    expected = lfq.table()
    lfq.bits.zero_()
    lfq.reset()
    assert torch.equal(lfq.table(), expected)
    assert lfq.state_dict() == {}


# Losses


def test_commitment_pulls_latents_to_their_corner():
    lfq, latents = LFQ(8, entropy_weight=0.1), grid(2, 3, 4, 4).requires_grad_()
    quantized = lfq.quantize(latents)
    corners = quantized.quantized.detach()
    torch.testing.assert_close(quantized.commitment_loss, (latents - corners).square().mean())
    quantized.commitment_loss.backward()
    torch.testing.assert_close(latents.grad, 2 * (latents - corners).detach() / latents.numel())


@pytest.mark.parametrize("weight", [0.0, 0.1, 2.0])
def test_the_codebook_loss_is_the_weighted_entropy_term(weight):
    latents = grid(2, 3, 4, 4)
    loss = LFQ(8, entropy_weight=weight).quantize(latents).codebook_loss
    assert loss is not None
    torch.testing.assert_close(loss, weight * entropy_term(channels_last(latents)))


@torch.no_grad()
def test_encoding_needs_no_other_process(monkeypatch):
    monkeypatch.setattr("pictogram.tokenizer.lfq.sum_over_processes", lambda *values: pytest.fail("would wait"))
    assert LFQ(8, entropy_weight=0.1).quantize(grid(2, 3, 4, 4)).codebook_loss is None


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0])
def test_the_entropy_term_and_its_gradient_against_the_definition(size, scale):
    lfq = LFQ(size, entropy_weight=0.1)
    points = grid(50, lfq.dim, scale=scale).requires_grad_()
    reference = points.detach().double().requires_grad_()
    found, expected = entropy_term(points), entropy_by_brute_force(reference, lfq.table().double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)
    found.backward()
    expected.backward()
    assert points.grad is not None
    assert reference.grad is not None
    torch.testing.assert_close(points.grad.double(), reference.grad, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("scale", [3.0, 30.0, 1e4])
def test_latents_far_from_zero_have_a_finite_gradient(scale):
    """Their chances are 0 and 1 in floats."""
    points = grid(50, 6, scale=scale).requires_grad_()
    term = entropy_term(points)
    term.backward()
    assert term.isfinite()
    assert points.grad is not None
    assert points.grad.isfinite().all()


def test_extremes():
    corners = LFQ(16, entropy_weight=0.1).table()
    log_size = torch.tensor(16.0).log().item()
    # Sure latents that use all codes alike are best; latents in doubt cancel; all on one code gain nothing.
    assert entropy_term(10 * corners).item() == pytest.approx(-log_size)
    assert entropy_term(torch.zeros(5, 4)).item() == pytest.approx(0, abs=1e-6)
    assert entropy_term(10 * corners[3].expand(7, -1)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    lfq, latents = LFQ(64, entropy_weight=0.1), grid(2, 6, 8, 8).to(dtype)
    expected = lfq.quantize(latents.float())
    with torch.autocast("cpu", dtype):
        quantized = lfq.quantize(latents)
    assert torch.equal(quantized.indices, expected.indices)
    assert torch.equal(quantized.quantized, expected.quantized)
    assert quantized.codebook_loss is not None
    assert expected.codebook_loss is not None
    assert torch.equal(quantized.codebook_loss, expected.codebook_loss)
