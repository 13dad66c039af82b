import pytest
import torch
from torch import nn

from pictogram.hub.errors import InputError
from pictogram.tokenizer.discriminator import (
    PatchDiscriminator,
    adaptive_weight,
    adversarial_loss,
    discriminator_loss,
    num_halvings_for,
    seeded_discriminator,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# The network


@pytest.mark.parametrize(("size", "grid"), [(6, 1), (16, 6), (28, 5), (32, 6), (64, 6), (96, 10), (256, 30)])
def test_one_score_a_patch(size, grid):
    discriminator = seeded_discriminator(3, size, 4, seed=0)
    assert discriminator(random(2, 3, size, size)).shape == (2, 1, grid, grid)


def test_too_small_for_a_patch():
    with pytest.raises(InputError, match="at least 6 pixels a side, got 5"):
        num_halvings_for(5)


def test_pictures_that_are_not_square():
    assert seeded_discriminator(1, 32, 4, seed=0)(random(2, 1, 32, 48)).shape == (2, 1, 6, 10)


@pytest.mark.parametrize(("num_halvings", "patch"), [(1, 16), (2, 34), (3, 70)])
def test_a_patch_has_the_size_the_paper_gives(num_halvings, patch):
    torch.manual_seed(0)
    discriminator = PatchDiscriminator(1, 2, num_halvings).double()
    pixels = random(1, 1, 160, 160).double().requires_grad_()
    scores = discriminator(pixels)
    middle = scores.shape[-1] // 2
    (gradient,) = torch.autograd.grad(scores[0, 0, middle, middle], pixels)
    seen = (gradient[0, 0] != 0).any(0).nonzero().flatten()
    assert int(seen[-1] - seen[0]) + 1 == patch


def test_pictures_do_not_see_each_other_and_nothing_is_remembered():
    discriminator = seeded_discriminator(3, 28, 4, seed=0).train()
    pixels = random(4, 3, 28, 28)
    together = discriminator(pixels)
    torch.testing.assert_close(discriminator(pixels[1:2]), together[1:2])
    assert torch.equal(discriminator(pixels), together)
    assert list(discriminator.buffers()) == []


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = seeded_discriminator(3, 16, 4, seed=0).state_dict()
    assert torch.equal(torch.rand(3), expected), "the global random state has moved"
    again, other = (seeded_discriminator(3, 16, 4, seed=seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


def test_scores_start_near_zero_and_vary():
    scores = seeded_discriminator(3, 32, 16, seed=0)(random(8, 3, 32, 32))
    assert scores.abs().mean() < 2
    assert scores.std() > 0.05


def test_it_learns_to_tell_noise_from_gradients():
    ramp = torch.linspace(-1, 1, 16).expand(32, 1, 16, 16)
    real = ramp * torch.rand(32, 1, 1, 1, generator=torch.Generator().manual_seed(2))
    fake = real + 0.1 * random(32, 1, 16, 16)
    discriminator = seeded_discriminator(1, 16, 8, seed=0)
    optimizer = torch.optim.Adam(discriminator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    for _ in range(60):
        optimizer.zero_grad()
        discriminator_loss(discriminator(real[:24]), discriminator(fake[:24])).backward()
        optimizer.step()
    correct = (discriminator(real[24:]) > 0).float().mean() + (discriminator(fake[24:]) < 0).float().mean()
    assert float(correct) / 2 > 0.9


# The losses


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [
        ([0.0], [0.0], 2.0),
        ([1.0], [-1.0], 0.0),
        ([5.0, 1.5], [-2.0, -7.0], 0.0),  # beyond the margin nothing is gained
        ([0.5, -1.0], [-0.5, 2.0], (0.5 + 2) / 2 + (0.5 + 3) / 2),
        ([-3.0], [3.0], 8.0),
        ([0.7], [0.7], 2.0),  # one score for everything, anywhere within the margins
    ],
)
def test_hinge_loss_of_the_discriminator(real, fake, expected):
    assert float(discriminator_loss(torch.tensor(real), torch.tensor(fake))) == pytest.approx(expected)


def test_hinge_loss_of_the_generator():
    assert float(adversarial_loss(torch.tensor([0.5, -2.0, 3.0]))) == pytest.approx(-0.5)


def test_gradients_of_the_hinge():
    real, fake = torch.tensor([0.5, 1.5], requires_grad=True), torch.tensor([-0.5, -1.5], requires_grad=True)
    discriminator_loss(real, fake).backward()
    assert real.grad is not None and fake.grad is not None
    assert real.grad.tolist() == [-0.5, 0.0]
    assert fake.grad.tolist() == [0.5, 0.0]


# The adaptive weight


def test_adaptive_weight_by_hand():
    layer = nn.Parameter(torch.tensor([3.0, 4.0]))
    losses = layer.square().sum(), 2 * layer[0]  # gradients (6, 8) and (2, 0)
    weight = adaptive_weight(*losses, layer, mean=lambda gradient: gradient)
    assert float(weight) == pytest.approx(10 / 2, rel=1e-5)
    assert not weight.requires_grad
    assert layer.grad is None
    torch.stack(losses).sum().backward()  # the graphs are still there
    assert layer.grad is not None and layer.grad.tolist() == [8.0, 8.0]


def test_adaptive_weight_of_a_small_decoder():
    torch.manual_seed(0)
    last, judge, hidden, pixels = nn.Conv2d(4, 3, 1), nn.Conv2d(3, 1, 1), random(2, 4, 5, 5), random(2, 3, 5, 5)
    made = last(hidden)
    found = adaptive_weight(
        (made - pixels).square().mean(), -judge(made).mean(), last.weight, lambda gradient: gradient
    )
    # Of the error by w[c, k]: the sum of 2 (made - pixels)[c] hidden[k] / N; of the score: -judge[c] mean hidden[k].
    mse = torch.einsum("bchw,bkhw->ck", 2 * (made - pixels), hidden) / pixels.numel()
    score = -torch.outer(judge.weight.flatten(), hidden.mean((0, 2, 3)))
    assert float(found) == pytest.approx(float((mse.norm() / score.norm()).detach()), rel=1e-4)


def test_adaptive_weight_is_clamped():
    layer = nn.Parameter(torch.ones(2))
    assert float(adaptive_weight(layer.sum(), 1e-9 * layer.sum(), layer, lambda gradient: gradient)) == 1e4
    assert float(adaptive_weight(0 * layer.sum(), layer.sum(), layer, lambda gradient: gradient)) == 0


def test_adaptive_weight_takes_the_mean_over_processes_before_the_norm():
    layer = nn.Parameter(torch.tensor([1.0, 0.0]))
    others = iter([torch.tensor([0.0, 3.0]), torch.tensor([-1.0, 0.0])])  # what a second process finds
    losses = 3 * layer[0], layer[0] + layer[1]
    weight = adaptive_weight(*losses, layer, mean=lambda gradient: (gradient + next(others)) / 2)
    assert float(weight) == pytest.approx(((1.5**2 + 1.5**2) / 0.5**2) ** 0.5, rel=1e-5)
