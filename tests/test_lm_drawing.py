import math

import pytest
import torch
from tiny_draws import reference_truncation

from pictogram.hub.errors import InputError
from pictogram.lm.drawing import SamplingConfig, draw, guide, uniforms

GREEDY = SamplingConfig(temperature=0)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -0.1},
        {"temperature": math.inf},
        {"temperature": 1e-300},
        {"temperature": math.nan},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_p": math.nan},
        {"guidance_scale": -1.0},
        {"guidance_scale": math.inf},
        {"guidance_scale": 1e5},
    ],
    ids=str,
)
def test_values_outside_their_range_are_refused(options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be"):
        SamplingConfig(**options)


def test_seeds_that_differ_in_their_upper_half_alone_draw_other_numbers():
    """torch's generator on CPUs knows the lower 32 bits of a seed only."""
    drawn = uniforms([5, (1 << 32) + 5, (2 << 32) + 5, 2**63 - 1], 4)
    assert len(drawn.unique(dim=0)) == 4
    assert torch.equal(uniforms([(1 << 32) + 5], 2)[0], drawn[1, :2])
    assert torch.equal(drawn[0], torch.rand(4, generator=torch.Generator().manual_seed(5), dtype=torch.float64))
    many = uniforms([1 << 40], 100_000)
    assert float(many.min()) >= 0 and float(many.max()) < 1 and abs(float(many.mean()) - 0.5) < 0.005


def test_uniforms_depend_on_their_seed_alone():
    assert torch.equal(uniforms([3, 4], 6)[1], uniforms([4], 6)[0])
    assert torch.equal(uniforms([3], 6)[0, :2], uniforms([3], 2)[0])
    for seed in (-1, 2**63):
        with pytest.raises(InputError, match="seeds must be 0 or more"):
            uniforms([seed], 1)


def test_the_ends_of_the_range_of_uniform_numbers():
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]])
    just_below_1 = math.nextafter(1.0, 0.0)
    assert draw(scores, torch.tensor([0.0], dtype=torch.float64), SamplingConfig()).tolist() == [1]
    assert draw(scores, torch.tensor([just_below_1], dtype=torch.float64), SamplingConfig()).tolist() == [3]
    many = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    wide = torch.randn(1, 300, generator=torch.Generator().manual_seed(0)).expand(len(many), -1) * 20
    assert draw(wide, many, SamplingConfig()).diff().min() >= 0  # the inverse of a distribution function never falls


def test_draws_follow_the_distribution():
    chances = torch.tensor([0.5, 0.25, 0.125, 0.1, 0.025], dtype=torch.float64)
    count = 20000
    uniform = uniforms([0], count)[0]
    drawn = draw(chances.log().expand(count, -1), uniform, SamplingConfig())
    expected = chances * count
    chi_square = ((torch.bincount(drawn, minlength=5) - expected) ** 2 / expected).sum()
    assert chi_square < 13.3  # the 99 % point at 4 degrees of freedom
    sharper = draw(chances.log().expand(count, -1), uniform, SamplingConfig(temperature=0.5))
    expected = chances**2 / (chances**2).sum() * count
    assert ((torch.bincount(sharper, minlength=5) - expected) ** 2 / expected).sum() < 13.3


def test_temperature_0_takes_the_first_of_the_largest():
    scores = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 1.0]])
    assert draw(scores, torch.tensor([0.9, 0.9]), GREEDY).tolist() == [1, 0]


@pytest.mark.parametrize("top_k", [0, 1, 2, 3, 6, 9])
@pytest.mark.parametrize("top_p", [1.0, 0.05, 0.25, 0.5, 0.75, 0.8, 0.999])
def test_truncation_against_plain_counting(top_k: int, top_p: float):
    sampling = SamplingConfig(top_k=top_k, top_p=top_p)
    uniform = torch.linspace(0, 1, 129, dtype=torch.float64)[:-1]
    rows = [
        [0.25, 0.25, 0.25, 0.25],  # ties everywhere
        [0.125, 0.5, 0.125, 0.25],
        [0.0, 0.5, 0.0, 0.5],
        torch.rand(7, generator=torch.Generator().manual_seed(1)).double().softmax(0).tolist(),
    ]
    for chances in rows:
        scores = torch.tensor(chances, dtype=torch.float64).log().expand(len(uniform), -1)
        exact = scores[0].softmax(0).tolist()
        kept = torch.tensor(reference_truncation(exact, sampling), dtype=torch.float64)
        drawn = draw(scores, uniform, sampling)
        assert set(drawn.tolist()) <= set(kept.nonzero().flatten().tolist())
        cumulative = kept.cumsum(0)
        expected = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
        assert torch.equal(drawn, expected)


def test_a_whole_number_may_be_a_float():
    scores, uniform = torch.arange(6.0)[None], torch.tensor([0.5])
    drawn = [draw(scores, uniform, SamplingConfig(top_k=k)) for k in (2, 2.0)]  # pyright: ignore[reportArgumentType]
    assert torch.equal(*drawn)


def test_guidance_moves_away_from_the_unconditional():
    conditional, base = torch.tensor([[1.0, -torch.inf, 3.0]]), torch.tensor([[0.0, -torch.inf, 1.0]])
    assert guide(conditional, base, 1.0).tolist() == conditional.tolist()
    assert guide(conditional, base, 3.0).tolist() == [[3.0, -math.inf, 7.0]]
