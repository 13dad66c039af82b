"""Nearest neighbours."""

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer import neighbours
from pictogram.tokenizer.neighbours import find_neighbours


@pytest.mark.parametrize("block", [1 << 25, 100, 1])
def test_they_are_those_of_all_pairs(monkeypatch, block):
    monkeypatch.setattr(neighbours, "_BLOCK", block)
    points = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    found = find_neighbours(points, 3, seen.append)
    unit = points / points.norm(dim=1, keepdim=True)
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    expected = cosines.sort(1, descending=True)
    assert torch.equal(found.indices, expected.indices[:, :3])
    assert torch.allclose(found.similarities, expected.values[:, :3], atol=1e-6)
    assert sum(seen) == 40


def test_a_point_is_never_its_own_neighbour():
    found = find_neighbours(torch.ones(4, 2), 3)
    assert all(row not in found.indices[row].tolist() for row in range(4))


@pytest.mark.parametrize("count", [0, 4, 9])
def test_there_must_be_enough(count):
    with pytest.raises(InputError, match=f"more than {count} pictures .* got 4"):
        find_neighbours(torch.ones(4, 2), count)
