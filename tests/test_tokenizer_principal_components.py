import torch

from pictogram.tokenizer.principal_components import PrincipalComponents


def test_the_widest_directions_come_first():
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    points = 7 + torch.randn(2000, 5, generator=generator) * torch.tensor([5.0, 3.0, 1.0, 0.1, 0.1]) @ turn.T
    found = PrincipalComponents.of(points, 3)
    projected = found.project(points)
    torch.testing.assert_close(projected.std(0), torch.tensor([5.0, 3.0, 1.0]), rtol=0.05, atol=0)
    torch.testing.assert_close(projected.mean(0), torch.zeros(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.directions.T @ found.directions, torch.eye(3), atol=1e-5, rtol=0)
    assert ((turn[:, :3].T @ found.directions).abs().diagonal() > 0.99).all()


def test_all_of_them_keep_distances():
    points = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    projected = PrincipalComponents.of(points, 9).project(points)
    assert projected.shape == (50, 4)
    torch.testing.assert_close(torch.pdist(projected), torch.pdist(points), atol=1e-4, rtol=1e-4)
