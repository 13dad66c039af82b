import math

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.cluster_statistics import ClusterStatistics, Gaussian, beside_gaussian, hopkins


def gaussian_cloud(count: int, seed: int) -> torch.Tensor:
    """16 dimensions of very different width, turned."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(16, 16, generator=generator)).Q
    return 3 + torch.randn(count, 16, generator=generator) * torch.logspace(-2, 1, 16) @ turn


def clusters(count: int, seed: int) -> torch.Tensor:
    """Ten of them in 16 dimensions, tight beside the distances between their centres."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 16, generator=generator)
    which = torch.randint(10, (count,), generator=generator)
    return centres[which] + 0.2 * torch.randn(count, 16, generator=generator)


@pytest.mark.parametrize("seed", range(3))
def test_one_gaussian_scores_a_half_whatever_its_shape(seed):
    assert hopkins(gaussian_cloud(2000, seed), seed) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_clusters_score_more(seed):
    assert hopkins(clusters(2000, seed), seed) > 0.65


def test_the_matched_gaussian_has_the_points_moments():
    points = gaussian_cloud(400, 0)
    drawn = Gaussian.of(points).draw(200_000, torch.Generator().manual_seed(1))
    torch.testing.assert_close(drawn.mean(0), points.mean(0), atol=0.1, rtol=0.02)
    torch.testing.assert_close(torch.cov(drawn.T), torch.cov(points.T), atol=0.6, rtol=0.02)


def test_directions_without_spread_stay_empty():
    flat = torch.cat([torch.randn(100, 2), torch.full((100, 1), 7.0)], 1)
    assert Gaussian.of(flat).draw(50, torch.Generator())[:, 2] == pytest.approx(torch.full((50,), 7.0), abs=1e-5)


def test_one_gaussian_cannot_be_told_from_its_own():
    found = beside_gaussian(gaussian_cloud(2000, 0), 10, num_draws=8, points_per_draw=500)
    assert [*found] == ["hopkins", "silhouette", "within_share", "margin", "stability"]
    for name, statistic in found.items():
        assert statistic.low <= statistic.points <= statistic.high
        assert abs(statistic.z) < 3, name


def test_clusters_are_told_from_their_gaussian():
    found = beside_gaussian(clusters(2000, 0), 10, num_draws=8, points_per_draw=500)
    assert found["hopkins"].low > 0.6 > found["hopkins"].gaussian_high
    assert found["silhouette"].points > 2 * found["silhouette"].gaussian_high
    assert found["within_share"].high < found["within_share"].gaussian_low
    assert found["margin"].low > found["margin"].gaussian_high
    assert found["stability"].points > found["stability"].gaussian
    assert found["silhouette"].z > 5 > -5 > found["within_share"].z


def test_the_same_seed_gives_the_same_figures_and_leaves_the_global_one_alone():
    points = clusters(300, 0)
    state = torch.get_rng_state()
    first = beside_gaussian(points, 5, num_draws=3, seed=4)
    assert beside_gaussian(points, 5, num_draws=3, seed=4) == first
    assert beside_gaussian(points, 5, num_draws=3, seed=5) != first
    assert torch.equal(torch.get_rng_state(), state)


def test_statistics_of_two_points_in_two_places():
    points = torch.tensor([[0.0, 0.0]] * 30 + [[3.0, 4.0]] * 30)
    found = ClusterStatistics.of(points, 2)
    assert (found.within_share, found.silhouette, found.stability) == (0, 1, 1)
    assert found.margin > 1e6


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (torch.randn(49, 2), {}, "got 49 points and 20 draws"),
        (torch.randn(100, 2), {"num_draws": 1}, "got 100 points and 1 draws"),
        (torch.ones(100, 2), {}, "all 100 points are the same"),
        (torch.randn(100, 2), {"num_clusters": 13}, "num_clusters must be 2 to 12 with 50 points a draw, got 13"),
    ],
)
def test_what_says_nothing_is_refused(points, options, message):
    with pytest.raises(InputError, match=message):
        beside_gaussian(points, **{"num_clusters": 2} | options)


def test_progress_counts_draws():
    counted: list[int] = []
    beside_gaussian(torch.randn(60, 2), 2, num_draws=3, progress=counted.append)
    assert sum(counted) == 3 and not any(map(math.isnan, counted))
