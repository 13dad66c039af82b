import pytest
import torch

from pictogram.tokenizer.patch_vq import PatchCodebook, draw_points, fit_codebooks, patches_by_codebook


def test_without_a_weight_the_nearest_code_is_taken():
    codebook = PatchCodebook(torch.tensor([[0.0], [10.0]]), torch.tensor([1.0, 5.0]))
    points = torch.tensor([[4.9], [5.1], [5.3]])
    assert codebook.assign(points, 0).tolist() == [0, 1, 1]
    # The border between 0 and 10 moves by weight * (5 - 1) / (2 * 10).
    assert codebook.assign(points, 1).tolist() == [0, 0, 1]


def test_ecvq_lowers_its_cost_on_what_it_learns_from():
    evaluation = []
    points = torch.randn(3000, 2, generator=torch.Generator().manual_seed(0)) * 20
    weights = (0, 50, 200)
    books = list(fit_codebooks(points, 16, weights, 10, seed=0))
    for weight, book in zip(weights, books, strict=True):
        costs = []
        for other, known in zip(weights, books, strict=True):
            codes = known.assign(points, other)
            error = float((points - known.vectors[codes]).square().sum(1).mean())
            costs.append(error + weight * float(known.bits[codes].mean()))
        evaluation.append(costs)
        assert float((2.0**-book.bits).sum()) == pytest.approx(1)
    assert [min(range(3), key=costs.__getitem__) for costs in evaluation] == [0, 1, 2]


def test_patches_of_a_place_are_together():
    pictures = torch.arange(2 * 4 * 4).view(2, 4, 4, 1)
    per_place = patches_by_codebook(pictures, (2, 2), per_place=True)
    assert per_place.shape == (4, 2, 4)
    assert per_place[1].tolist() == [[2, 3, 6, 7], [18, 19, 22, 23]]
    assert patches_by_codebook(pictures, (2, 2), per_place=False).shape == (1, 8, 4)


def test_points_are_drawn_once_each():
    points = torch.arange(10).view(10, 1)
    drawn = draw_points(points, 6, torch.Generator().manual_seed(0)).flatten().tolist()
    assert len({*drawn}) == 6
    assert sorted(draw_points(points, 99, torch.Generator()).flatten().tolist()) == list(range(10))
