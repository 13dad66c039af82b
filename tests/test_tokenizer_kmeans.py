import torch

from pictogram.tokenizer.kmeans import kmeans
from pictogram.tokenizer.quantizer import nearest


def clusters(num_clusters: int, per_cluster: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Tight clusters with centres far apart."""
    generator = torch.Generator().manual_seed(seed)
    centres = 10 * torch.randn(num_clusters, 3, generator=generator)
    noise = 0.01 * torch.randn(num_clusters, per_cluster, 3, generator=generator)
    return centres, (centres[:, None] + noise).flatten(0, 1)


def sorted_rows(rows: torch.Tensor) -> torch.Tensor:
    return rows[rows[:, 0].argsort()]


def test_well_separated_clusters_are_found():
    centres, points = clusters(6, 50)
    found = kmeans(points, 6)
    means = points.view(6, 50, 3).mean(1)
    torch.testing.assert_close(sorted_rows(found), sorted_rows(means))
    assert (sorted_rows(found) - sorted_rows(centres)).abs().max() < 0.01


def test_deterministic_given_the_seed_and_whatever_the_global_one():
    points = torch.randn(200, 2, generator=torch.Generator().manual_seed(1))
    torch.manual_seed(1)
    first = kmeans(points, 9, seed=3)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(kmeans(points, 9, seed=3), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(kmeans(points, 9, seed=4), first)


def test_lloyd_steps_never_increase_the_distortion():
    points = torch.randn(300, 2, generator=torch.Generator().manual_seed(2))
    distortions = [
        float(torch.cdist(points, kmeans(points, 7, num_iterations=count)).amin(1).square().mean())
        for count in (0, 1, 2, 5, 20)
    ]
    assert distortions == sorted(distortions, reverse=True)


def test_one_cluster_is_the_mean():
    points = torch.randn(50, 4, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(kmeans(points, 1), points.mean(0, keepdim=True))


def test_more_clusters_than_points():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 5.0]])
    found = kmeans(points, 8)
    assert found.shape == (8, 2)
    assert {tuple(row) for row in found.tolist()} == {tuple(row) for row in points.tolist()}


def test_constant_points_and_a_single_one():
    assert torch.equal(kmeans(torch.full((20, 2), 3.0), 4), torch.full((4, 2), 3.0))
    assert torch.equal(kmeans(torch.full((1, 2), 3.0), 4), torch.full((4, 2), 3.0))


def test_half_precision_points_give_float32_centroids():
    points = torch.randn(64, 2, generator=torch.Generator().manual_seed(4)).bfloat16()
    found = kmeans(points, 4)
    assert found.dtype == torch.float32
    assert torch.equal(found, kmeans(points.float(), 4))


def test_the_best_of_several_starts():
    points = torch.randn(300, 2, generator=torch.Generator().manual_seed(0))

    def error(centroids: torch.Tensor) -> float:
        return float((points - centroids[nearest(points, centroids)]).square().sum())

    one, several = kmeans(points, 12, seed=3), kmeans(points, 12, seed=3, num_starts=6)
    assert error(several) < error(one)
    assert torch.equal(several, kmeans(points, 12, seed=3, num_starts=6))
