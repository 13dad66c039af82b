import math

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.ema_codebook import EMACodebook
from pictogram.tokenizer.quantizer import channels_last, nearest


def make(size: int = 4, dim: int = 3, decay: float = 0.9, revival_threshold: float = 0.0) -> EMACodebook:
    torch.manual_seed(0)
    return EMACodebook(size, dim, decay=decay, revival_threshold=revival_threshold)


def grid(*shape: int, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def set_statistics(codebook: EMACodebook, counts: list[float]) -> None:
    codebook.counts.copy_(torch.tensor(counts))
    codebook.sums.copy_(codebook.embedding.weight * codebook.counts[:, None])


def assert_consistent(codebook: EMACodebook) -> None:
    torch.testing.assert_close(codebook.embedding.weight.detach(), codebook.sums / codebook.counts[:, None])


def test_fifty_updates_against_the_closed_form():
    codebook = make(decay=0.9)
    codebook.start(grid(8, 3, 2, 2, seed=100), seed=0)
    decays = [min(0.9, (1 + step) / (10 + step)) for step in range(50)]
    counts = codebook.counts.double() * math.prod(decays)
    sums = codebook.sums.double() * math.prod(decays)
    for step in range(50):
        latents = grid(5, 3, 2, 2, seed=step)
        indices = codebook.quantize(latents).indices
        codebook.update(latents, indices)
        one_hot = torch.nn.functional.one_hot(indices.flatten(), 4).double()
        # What the decays of later updates leave of each, in units of the average code: 20 latents, 4 codes.
        weight = (1 - decays[step]) * math.prod(decays[step + 1 :]) * 4 / 20
        counts += weight * one_hot.sum(0)
        sums += weight * one_hot.T @ channels_last(latents).double()
    torch.testing.assert_close(codebook.counts.double(), counts, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(codebook.embedding.weight.double(), sums / counts[:, None], rtol=1e-5, atol=1e-6)
    assert int(codebook.num_updates) == 50


def test_the_decay_grows_to_its_full_height():
    codebook, found = make(decay=0.99), []
    latents = grid(2, 3, 2, 2)
    codebook.start(latents, seed=0)
    for updates in (0, 80, 889, 890, 100_000):
        codebook.num_updates.fill_(updates)
        before = codebook.counts.clone()
        codebook.update(latents, torch.zeros(2, 2, 2, dtype=torch.int64))
        found.append(float(codebook.counts[1] / before[1]))
    assert found == pytest.approx([0.1, 0.9, 890 / 899, 0.99, 0.99], rel=1e-4)


def test_start_is_consistent_and_covers_the_latents():
    codebook, latents = make(8), grid(4, 3, 4, 4)
    codebook.start(latents, seed=0)
    assert_consistent(codebook)
    points = channels_last(latents)
    counts = torch.bincount(nearest(points, codebook.embedding.weight), minlength=8)
    torch.testing.assert_close(codebook.counts, counts.float() * 8 / len(points))
    assert float((points - codebook.embedding.weight[nearest(points, codebook.embedding.weight)]).var()) < 0.5


def test_start_and_batches_weigh_the_same_whatever_their_sizes():
    codebook, few = make(8, decay=0.5), grid(1, 3, 4, 4, seed=1)
    codebook.start(grid(64, 3, 4, 4), seed=0)
    codebook.num_updates.fill_(1000)  # the decay has its full height
    before = codebook.embedding.weight.clone()
    latents = before[0].view(1, 3, 1, 1) + 0.1 * few
    codebook.update(latents, torch.zeros(1, 4, 4, dtype=torch.int64))
    # All of a batch fell on code 0: with decay 1/2 its mean counts 8 (codes) against the start's share of code 0.
    share = float(codebook.counts[0]) * 2 - 8
    expected = (before[0] * share + 8 * channels_last(latents).mean(0)) / (share + 8)
    torch.testing.assert_close(codebook.embedding.weight[0].detach(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_unhit_codes_stay_put(offset):
    codebook = make(8)
    codebook.start(grid(4, 3, 4, 4) + offset, seed=0)
    before = codebook.embedding.weight.clone()
    latents = before[0].view(1, 3, 1, 1).expand(2, -1, 3, 3)
    for _ in range(20):
        codebook.update(latents, codebook.quantize(latents).indices)
    torch.testing.assert_close(codebook.embedding.weight.detach(), before, rtol=1e-5, atol=1e-6)


def test_unhit_codes_stay_put_for_ever_without_revival():
    codebook = make(4, decay=0.5)
    codebook.start(grid(4, 3, 2, 2), seed=0)
    before = codebook.embedding.weight.clone()
    latents = before[0].view(1, 3, 1, 1)
    for _ in range(300):  # counts fall below the smallest float
        codebook.update(latents, torch.zeros(1, 1, 1, dtype=torch.int64))
    assert float(codebook.counts[1]) < 1e-30
    torch.testing.assert_close(codebook.embedding.weight.detach(), before, rtol=1e-5, atol=1e-6)


def test_revival_splits_the_busiest_code_and_resets_both_statistics():
    codebook = make(4, revival_threshold=0.1)
    set_statistics(codebook, [10.0, 40.0, 0.5, 20.0])
    before = codebook.embedding.weight.clone()
    codebook._revive()
    assert codebook.counts.tolist() == [10, 20, 20, 20]
    assert torch.equal(codebook.embedding.weight[[0, 1, 3]], before[[0, 1, 3]])
    distance = (codebook.embedding.weight[2] - before[1]).norm()
    assert 0 < float(distance) < 0.1 * float(before.std())
    assert_consistent(codebook)


def test_revival_shares_out_the_busiest_codes_to_the_dead_ones():
    codebook = make(6, revival_threshold=0.1)
    set_statistics(codebook, [0.0, 30.0, 50.0, 0.1, 40.0, 5.0])
    before = codebook.embedding.weight.clone()
    codebook._revive()
    assert codebook.counts.tolist() == [25, 30, 25, 20, 20, 5]
    torch.testing.assert_close(codebook.embedding.weight[[0, 3]], before[[2, 4]], rtol=0, atol=0.1)
    assert_consistent(codebook)


def test_the_dead_are_not_split():
    codebook = make(6, revival_threshold=0.1)
    set_statistics(codebook, [0.0, 0.0, 0.0, 0.0, 0.0, 64.0])
    assert codebook.counts.sum() == 64
    codebook._revive()
    assert codebook.counts.tolist() == [32, 0, 0, 0, 0, 32]
    codebook._revive()
    codebook._revive()
    assert codebook.counts.sum() == 64
    assert (codebook.counts > 0).all()


def test_updates_revive_dead_codes_in_the_end():
    codebook = make(8, decay=0.8, revival_threshold=0.2)
    with torch.no_grad():
        codebook.embedding.weight[4:] = 1000.0  # nothing is ever assigned to these
    for step in range(40):
        latents = grid(8, 3, 4, 4, seed=step)
        codebook.update(latents, codebook.quantize(latents).indices)
    used = torch.bincount(codebook.quantize(grid(8, 3, 4, 4, seed=99)).indices.flatten(), minlength=8)
    assert (used > 0).all()
    assert_consistent(codebook)


def test_deterministic_whatever_the_global_generator():
    def run(seed: int) -> EMACodebook:
        codebook = make(8, decay=0.8, revival_threshold=0.5)
        torch.manual_seed(seed)
        codebook.start(grid(2, 3, 4, 4), seed=5)
        for step in range(10):
            latents = grid(2, 3, 4, 4, seed=step)
            codebook.update(latents, codebook.quantize(latents).indices)
        return codebook

    first, second = run(1), run(2)
    assert all(torch.equal(first.state_dict()[name], second.state_dict()[name]) for name in first.state_dict())


def test_the_state_continues_exactly():
    whole, part = make(8, decay=0.8, revival_threshold=0.5), make(8, decay=0.8, revival_threshold=0.5)
    for step in range(10):
        if step == 5:
            resumed = make(8, decay=0.8, revival_threshold=0.5)
            resumed.load_state_dict(part.state_dict())
            part = resumed
        latents = grid(2, 3, 4, 4, seed=step)
        for codebook in (whole, part):
            codebook.update(latents, codebook.quantize(latents).indices)
    assert torch.equal(whole.embedding.weight, part.embedding.weight)


@pytest.mark.parametrize("size", [1, 2, 50])
@pytest.mark.parametrize("constant", [False, True])
def test_odd_sizes_and_data(size, constant):
    codebook = make(size, revival_threshold=0.05)
    latents = torch.full((1, 3, 2, 2), 2.0) if constant else grid(1, 3, 2, 2)
    codebook.start(latents, seed=0)
    assert_consistent(codebook)
    for _ in range(30):
        quantized = codebook.quantize(latents)
        codebook.update(latents, quantized.indices)
    assert codebook.embedding.weight.isfinite().all()
    assert codebook.quantize(latents).indices.max() < size
    if constant or size == 50:  # as many codes as distinct latents, or more
        torch.testing.assert_close(codebook.quantize(latents).quantized, latents, rtol=0, atol=0.05)


def test_quantize_shapes_values_and_loss():
    codebook, latents = make(), grid(2, 3, 4, 5)
    quantized = codebook.quantize(latents)
    assert (quantized.indices.shape, quantized.indices.dtype) == ((2, 4, 5), torch.int64)
    vectors = codebook.embedding.weight[quantized.indices].permute(0, 3, 1, 2)
    assert torch.equal(quantized.quantized, vectors)
    assert torch.equal(codebook.vectors(quantized.indices), vectors)
    assert float(quantized.commitment_loss) == pytest.approx(float((latents - vectors).square().mean()))


def test_gradients_reach_the_latents_only():
    codebook, latents = make(), grid(1, 3, 2, 2).requires_grad_()
    quantized = codebook.quantize(latents)
    quantized.commitment_loss.backward()
    assert latents.grad is not None
    torch.testing.assert_close(latents.grad, 2 * (latents - quantized.quantized).detach() / latents.numel())
    assert codebook.embedding.weight.grad is None
    assert not quantized.latents.requires_grad
    assert list(filter(lambda parameter: parameter.requires_grad, codebook.parameters())) == []


def test_half_precision_latents():
    codebook, latents = make(), grid(2, 3, 2, 2).bfloat16()
    quantized = codebook.quantize(latents)
    assert torch.equal(quantized.indices, codebook.quantize(latents.float()).indices)
    assert quantized.commitment_loss.dtype == torch.float32
    codebook.update(latents, quantized.indices)
    assert codebook.sums.dtype == torch.float32


@pytest.mark.parametrize("estimator", ["straight_through", "rotation"])
def test_nothing_sends_a_gradient_to_the_codebook(estimator):
    codebook = EMACodebook(4, 3, decay=0.9, revival_threshold=0.0, gradient=estimator)
    latents = grid(1, 3, 2, 2).requires_grad_()
    quantized = codebook.quantize(latents)
    assert quantized.codebook_loss is None
    (quantized.quantized.square().sum() + quantized.commitment_loss).backward()
    assert latents.grad is not None
    assert codebook.embedding.weight.grad is None


def test_bias_and_mask():
    codebook, latents = make(8), grid(2, 3, 4, 4)
    bias, allowed = grid(8, seed=5).square(), torch.arange(8) % 3 != 0
    points = channels_last(latents).double()
    costs = (points[:, None] - codebook.table().double()).square().sum(-1) + bias.double()
    costs[:, ~allowed] = torch.inf
    assert torch.equal(codebook.quantize(latents, bias, allowed).indices.flatten(), costs.argmin(1))
    with pytest.raises(InputError, match="at least one of the 8 codes must be allowed"):
        codebook.quantize(latents, allowed=torch.zeros(8, dtype=torch.bool))


def test_the_table_holds_the_vector_of_every_code():
    codebook = make(8)
    assert torch.equal(codebook.table(), channels_last(codebook.vectors(torch.arange(8).view(1, 2, 4))))
    assert not codebook.table().requires_grad


def test_reset_forgets_everything():
    codebook = make(8)
    codebook.start(grid(4, 3, 4, 4), seed=0)
    codebook.update(grid(1, 3, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64))
    before = codebook.table().clone()
    codebook.reset()
    assert not torch.equal(codebook.table(), before)
    assert codebook.counts.tolist() == [1] * 8
    assert not codebook.sums.any()
    assert int(codebook.num_updates) == 0
