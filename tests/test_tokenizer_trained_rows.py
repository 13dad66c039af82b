"""Rows that learn beside rows that cannot."""

import torch

from pictogram.tokenizer.trained_rows import TrainedRows, row_distance, worst_latents


def table(size: int = 6, dim: int = 3) -> torch.Tensor:
    return torch.randn(size, dim, generator=torch.Generator().manual_seed(0))


def test_no_optimizer_reaches_other_rows():
    weight, before = table(), table()
    rows = TrainedRows(weight, torch.tensor([1, 4]))
    assert [name for name, _ in rows.named_parameters()] == ["offsets"]
    optimizer = torch.optim.AdamW(rows.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(5):
        loss = rows.vectors(torch.arange(6).view(1, 2, 3)).square().sum()  # all rows are used
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rows.write(weight)
    kept = [0, 2, 3, 5]
    assert torch.equal(weight[kept], before[kept])
    assert not (weight[[1, 4]] == before[[1, 4]]).any()
    assert torch.equal(weight[[1, 4]], rows.rows())


def test_they_start_where_they_are_and_vectors_are_those_of_the_codebook():
    weight = table()
    rows = TrainedRows(weight, torch.tensor([0]))
    rows.write(weight)
    assert torch.equal(weight, table())
    codes = torch.tensor([[[0, 5]]])
    assert torch.equal(rows.vectors(codes)[0, :, 0, 1], weight[5])


def test_none_may_learn():
    rows = TrainedRows(table(), torch.empty(0, dtype=torch.int64))
    rows.write(weight := table())
    assert torch.equal(weight, table()) and rows.rows().shape == (0, 3)


def test_a_row_starts_anew():
    rows = TrainedRows(table(), torch.tensor([1, 4]))
    with torch.no_grad():
        rows.offsets.add_(1)
    rows.restart(torch.tensor([1]), torch.full((1, 3), 7.0))
    assert rows.rows()[1].tolist() == [7, 7, 7]
    assert rows.offsets[0].tolist() == [1, 1, 1]


def test_distances_between_rows():
    line = torch.tensor([[0.0], [1.0], [3.0], [6.0], [6.0]])
    assert row_distance(line) == 2.0  # 1, 1, 2, 3, 3
    assert row_distance(torch.zeros(3, 2)) == 1.0 and row_distance(torch.zeros(1, 2)) == 1.0


def test_the_latents_that_fit_worst_come_first():
    latents = torch.tensor([0.0, 5.0, -7.0, 1.0]).view(1, 1, 2, 2)
    assert worst_latents(latents, torch.zeros(1, 1, 2, 2), 2).tolist() == [[-7], [5]]
    assert worst_latents(latents, torch.zeros(1, 1, 2, 2), 9).shape == (4, 1)
