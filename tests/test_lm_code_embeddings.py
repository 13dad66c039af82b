import pytest
import torch

from pictogram.lm.code_embeddings import projected_codes
from pictogram.tokenizer.batches import derived_generator


def rows(vectors: torch.Tensor, seed: int = 0, width: int = 256) -> torch.Tensor:
    return projected_codes(vectors, width, derived_generator(seed, "test"))


def test_distances_are_kept_up_to_a_factor():
    vectors = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)) + 5
    pairs = torch.triu_indices(40, 40, 1).unbind()
    ratio = torch.cdist(rows(vectors), rows(vectors))[pairs] / torch.cdist(vectors, vectors)[pairs]
    assert float(ratio.std() / ratio.mean()) < 0.15


def test_rows_have_mean_zero_and_spread_one():
    placed = rows(torch.randn(30, 4, dtype=torch.float64) * 7 + 3)
    assert placed.shape == (30, 256) and placed.dtype == torch.float32
    assert float(placed.mean(0).abs().max()) < 1e-5
    assert float(placed.std()) == pytest.approx(1, abs=1e-5)


def test_the_generator_decides_them():
    vectors = torch.rand(5, 3)
    assert torch.equal(rows(vectors), rows(vectors)) and not torch.equal(rows(vectors), rows(vectors, seed=1))


@pytest.mark.parametrize("count", [1, 6])
def test_equal_codes_get_rows_of_their_own(count: int):
    placed = rows(torch.full((count, 4), 0.5))
    assert placed.unique(dim=0).shape == (count, 256)
    assert float(placed.std()) == pytest.approx(1, abs=0.1)
