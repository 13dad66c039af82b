import pytest
import torch
from torch.nn import functional as F

from pictogram.hub.errors import InputError
from pictogram.tokenizer.l2_codebook import L2Codebook, unit_length
from pictogram.tokenizer.quantizer import channels_last


def make(size: int = 8, dim: int = 4, decay: float = 0.9, revival_threshold: float = 0.0, **settings) -> L2Codebook:
    torch.manual_seed(0)
    return L2Codebook(size, dim, decay=decay, revival_threshold=revival_threshold, **settings)


def grid(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weight(codebook: L2Codebook) -> torch.Tensor:
    return codebook.embedding.weight


# Search


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_vectors_are_unit_vectors(estimator):
    codebook, latents = make(gradient=estimator), grid(3, 4, 5, 2)
    quantized = codebook.quantize(latents)
    torch.testing.assert_close(codebook.table().norm(dim=1), torch.ones(8))
    torch.testing.assert_close(quantized.quantized.norm(dim=1), torch.ones(3, 5, 2))
    assert torch.equal(quantized.quantized, codebook.vectors(quantized.indices))
    assert torch.equal(codebook.table(), F.normalize(weight(codebook).detach(), dim=1))
    assert (quantized.indices.shape, quantized.indices.dtype) == ((3, 5, 2), torch.int64)


def test_the_code_is_the_one_of_the_greatest_cosine():
    codebook, latents = make(100, 6), grid(10, 6, 5, 5)
    points, vectors = channels_last(latents).double(), weight(codebook).detach().double()
    cosines = F.cosine_similarity(points[:, None], vectors[None], dim=2)
    assert torch.equal(codebook.quantize(latents).indices.flatten(), cosines.argmax(1))


def test_neither_lengths_of_latents_nor_of_weights_matter():
    codebook, latents = make(), grid(2, 4, 3, 3)
    expected = codebook.quantize(latents)
    for scale in (1e-3, 7.0, 1e4):
        scaled = codebook.quantize(scale * latents)
        assert torch.equal(scaled.indices, expected.indices)
        torch.testing.assert_close(scaled.commitment_loss, expected.commitment_loss)
    with torch.no_grad():
        weight(codebook).mul_(torch.tensor([0.1, 1, 2, 3, 4, 5, 6, 70])[:, None])
    assert torch.equal(codebook.quantize(latents).indices, expected.indices)
    torch.testing.assert_close(codebook.quantize(latents).quantized, expected.quantized)


def test_bias_and_mask():
    codebook, latents = make(), grid(2, 4, 3, 3)
    bias, allowed = grid(8, seed=5).square(), torch.arange(8) % 3 != 0
    points = channels_last(F.normalize(latents.double(), dim=1))
    costs = (points[:, None] - codebook.table().double()).square().sum(-1) + bias.double()
    costs[:, ~allowed] = torch.inf
    assert torch.equal(codebook.quantize(latents, bias, allowed).indices.flatten(), costs.argmin(1))
    with pytest.raises(InputError, match="bias must have one entry per code"):
        codebook.quantize(latents, bias[:3])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_latents_are_searched_in_float32(dtype):
    codebook, latents = make(), grid(2, 4, 3, 3).to(dtype)
    expected = codebook.quantize(latents.float())
    with torch.autocast("cpu", dtype):
        quantized = codebook.quantize(latents)
    assert torch.equal(quantized.indices, expected.indices)
    for loss in (quantized.commitment_loss, quantized.codebook_loss):
        assert loss is not None
        assert loss.dtype == torch.float32
    assert torch.equal(quantized.quantized, expected.quantized)


# Gradients: the two losses have the same value, so only their gradients tell them apart.


def test_the_codebook_loss_reaches_the_embedding_only():
    codebook, latents = make(), grid(2, 4, 3, 3).requires_grad_()
    quantized = codebook.quantize(latents)
    assert quantized.codebook_loss is not None
    assert quantized.codebook_loss.item() == pytest.approx(quantized.commitment_loss.item())
    quantized.codebook_loss.backward()
    assert latents.grad is None
    # By hand: the mean squared distance of the chosen unit vectors to the constant latents, in float64.
    reference = weight(codebook).detach().double().requires_grad_()
    points = channels_last(F.normalize(latents.detach().double(), dim=1))
    F.mse_loss(F.normalize(reference, dim=1)[quantized.indices.flatten()], points).backward()
    assert reference.grad is not None
    torch.testing.assert_close(weight(codebook).grad, reference.grad.float())


def test_the_commitment_loss_reaches_the_latents_only():
    codebook, latents = make(), grid(2, 4, 3, 3).requires_grad_()
    quantized = codebook.quantize(latents)
    quantized.commitment_loss.backward()
    assert weight(codebook).grad is None
    reference = latents.detach().double().requires_grad_()
    F.mse_loss(F.normalize(reference, dim=1), codebook.vectors(quantized.indices).double()).backward()
    assert latents.grad is not None
    assert reference.grad is not None
    torch.testing.assert_close(latents.grad, reference.grad.float())


def test_what_is_decoded_sends_no_gradient_to_the_codebook():
    codebook, latents = make(), grid(2, 4, 3, 3).requires_grad_()
    codebook.quantize(latents).quantized.square().sum().backward()
    assert weight(codebook).grad is None
    assert latents.grad is not None
    # The gradient of a normalised vector is at right angles to it: the length of latents is never learned.
    torch.testing.assert_close((latents.grad * latents).sum(1), torch.zeros(2, 3, 3), rtol=0, atol=1e-5)


def test_latents_of_no_length_have_a_modest_gradient():
    codebook, latents = make(), torch.zeros(1, 4, 2, 2, requires_grad=True)
    quantized = codebook.quantize(latents)
    assert quantized.codebook_loss is not None
    (quantized.commitment_loss + quantized.codebook_loss + quantized.quantized.sum()).backward()
    assert latents.grad is not None
    assert float(latents.grad.abs().max()) < 10


def test_unit_length():
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.0], [1e-9, 0.0]], requires_grad=True)
    out = unit_length(vectors, 1)
    torch.testing.assert_close(out.detach(), torch.tensor([[0.6, 0.8], [0.0, 0.0], [1e-9, 0.0]]))
    out.sum().backward()
    assert vectors.grad is not None
    torch.testing.assert_close(vectors.grad[1:], torch.ones(2, 2))


# Start, use and revival


def test_start_is_deterministic_and_fits_the_latents():
    latents, tables = grid(4, 4, 4, 4), []
    for global_seed in (1, 2):
        codebook = make(16)
        before = float(codebook.quantize(latents).commitment_loss)
        torch.manual_seed(global_seed)
        codebook.start(latents, seed=3)
        tables.append(codebook.table())
        assert float(codebook.quantize(latents).commitment_loss) < 0.6 * before
    assert torch.equal(*tables)
    torch.testing.assert_close(tables[0].norm(dim=1), torch.ones(16))
    other = make(16)
    other.start(latents, seed=4)
    assert not torch.equal(other.table(), tables[0])


@pytest.mark.parametrize("latents", [torch.zeros(1, 4, 2, 2), torch.tensor([1.0, -1.0]).expand(1, 4, 1, 2)])
def test_latents_that_give_no_direction_place_no_vector(latents):
    codebook = make(1)
    before = codebook.table()
    codebook.start(latents, seed=0)
    assert torch.equal(codebook.table(), before)


def test_use_is_counted_by_the_closed_form():
    codebook, decay = make(decay=0.9), 0.9
    expected, before = torch.full((8,), decay**50, dtype=torch.float64), weight(codebook).clone()
    for step in range(50):
        latents = grid(2, 4, 3, 3, seed=step)
        indices = codebook.quantize(latents).indices
        codebook.update(latents, indices)
        expected += (1 - decay) * decay ** (49 - step) * torch.bincount(indices.flatten(), minlength=8) * 8 / 18
    torch.testing.assert_close(codebook.counts.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(weight(codebook), before)
    assert int(codebook.num_updates) == 50


def test_revival_puts_a_dead_code_beside_the_busiest():
    codebook = make(4, decay=0.0, revival_threshold=0.1)
    before = codebook.table()
    indices = torch.tensor([0] * 2 + [1] * 10 + [3] * 4).view(1, 4, 4)
    codebook.update(torch.zeros(1, 4, 4, 4), indices)
    assert codebook.counts.tolist() == [0.5, 1.25, 1.25, 1.0]
    assert torch.equal(codebook.table()[[0, 1, 3]], before[[0, 1, 3]])
    assert 0 < float((codebook.table()[2] - before[1]).norm()) < 0.1
    torch.testing.assert_close(codebook.table().norm(dim=1), torch.ones(4))


def test_updates_revive_dead_codes_in_the_end_and_alike_after_a_resume():
    def run(resume: bool) -> L2Codebook:
        codebook = make(decay=0.8, revival_threshold=0.2)
        with torch.no_grad():
            weight(codebook)[4:] = torch.tensor([-50.0, 0, 0, 0])  # nothing is ever assigned to these
        for step in range(40):
            if resume and step == 20:
                saved, codebook = codebook.state_dict(), make(decay=0.8, revival_threshold=0.2)
                codebook.load_state_dict(saved)
            latents = grid(8, 4, 4, 4, seed=step)
            latents[:, 0] = latents[:, 0].abs()
            codebook.update(latents, codebook.quantize(latents).indices)
        return codebook

    whole, resumed = run(False), run(True)
    assert torch.equal(weight(whole), weight(resumed))
    assert (whole.counts > 0.1).all()


@pytest.mark.parametrize("size", [1, 2, 50])
@pytest.mark.parametrize("constant", [False, True])
def test_odd_sizes_and_data(size, constant):
    codebook = make(size, revival_threshold=0.05)
    latents = torch.full((1, 4, 2, 2), 2.0) if constant else grid(1, 4, 2, 2)
    codebook.start(latents, seed=0)
    for _ in range(30):
        codebook.update(latents, codebook.quantize(latents).indices)
    torch.testing.assert_close(codebook.table().norm(dim=1), torch.ones(size))
    if constant or size == 50:
        expected = F.normalize(latents, dim=1)
        torch.testing.assert_close(codebook.quantize(latents).quantized, expected, rtol=0, atol=0.05)


def test_reset_forgets_everything():
    codebook = make()
    codebook.start(grid(4, 4, 4, 4), seed=0)
    codebook.update(grid(1, 4, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64))
    before = codebook.table()
    codebook.reset()
    assert not torch.equal(codebook.table(), before)
    assert codebook.counts.tolist() == [1] * 8
    assert int(codebook.num_updates) == 0
