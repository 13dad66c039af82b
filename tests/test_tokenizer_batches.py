import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pictogram.hub.errors import InputError
from pictogram.tokenizer.batches import (
    derived_generator,
    global_batch,
    permutation,
    prefix_counts,
    process_slice,
)


@settings(deadline=None, max_examples=40)
@given(num_rows=st.integers(1, 30), batch_size=st.integers(1, 40), seed=st.integers(0, 5))
def test_every_row_exactly_once_an_epoch(num_rows, batch_size, seed):
    epochs = 3
    num_steps = -(-epochs * num_rows // batch_size)
    batches = [global_batch(num_rows, batch_size, seed, step) for step in range(num_steps)]
    assert {len(batch) for batch in batches} == {batch_size}
    rows = [row for batch in batches for row in batch]
    for epoch in range(epochs):
        assert sorted(rows[epoch * num_rows : (epoch + 1) * num_rows]) == list(range(num_rows))


def test_a_batch_is_a_pure_function_of_seed_and_step():
    expected = [global_batch(50, 8, 3, step) for step in range(20)]
    permutation.cache_clear()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    assert [global_batch(50, 8, 3, step) for step in reversed(range(20))] == expected[::-1]
    assert torch.equal(torch.get_rng_state(), state)
    assert global_batch(50, 8, 4, 0) != expected[0]


def test_epochs_are_shuffled_differently():
    orders = {tuple(permutation(20, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert tuple(range(20)) not in orders


def test_a_known_batch():
    assert global_batch(10, 6, seed=0, step=1) == [5, 2, 7, 1, 0, 2]


@pytest.mark.parametrize("num_processes", [1, 2, 4, 8])
def test_slices_tile_the_batch(num_processes):
    batch = global_batch(100, 8, 0, 5)
    parts = [batch[process_slice(8, index, num_processes)] for index in range(num_processes)]
    assert [row for part in parts for row in part] == batch
    assert len({len(part) for part in parts}) == 1


@pytest.mark.parametrize("num_processes", [3, 16])
def test_a_batch_that_cannot_be_shared_equally(num_processes):
    with pytest.raises(InputError, match=f"multiple of the {num_processes} processes, got 8"):
        process_slice(8, 0, num_processes)


def test_derived_generators_are_independent_and_repeatable():
    keys = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 1), (0, "a", 11), (0, 1, 1), (0, 11)]
    draws = [float(torch.rand((), generator=derived_generator(*key), dtype=torch.float64)) for key in keys]
    assert len(set(draws)) == len(keys)
    assert draws == [float(torch.rand((), generator=derived_generator(*key), dtype=torch.float64)) for key in keys]


@settings(deadline=None, max_examples=60)
@given(
    batch_size=st.integers(1, 40),
    num_prefixes=st.integers(0, 4),
    share=st.floats(0.01, 1.0),
    step=st.integers(0, 100_000),
)
def test_every_picture_counts_once_on_average_in_every_prefix(batch_size, num_prefixes, share, step):
    counts = prefix_counts(step, batch_size, num_prefixes, share)
    assert counts.shape == (batch_size, num_prefixes)
    counting = counts > 0
    assert torch.all(counts[counting] == torch.tensor(1 / share))
    assert torch.all((counting.sum(0) - share * batch_size).abs() < 1 + 1e-6)  # never off by a picture


def test_small_batches_take_turns():
    counts = torch.cat([prefix_counts(step, 2, 1, 0.25) for step in range(4)])
    assert counts[:, 0].tolist() == [0, 0, 0, 4, 0, 0, 0, 4]
    assert torch.equal(prefix_counts(3, 8, 2, 1.0), torch.ones(8, 2))


def test_two_processes_decode_equally_many_prefixes():
    counting = prefix_counts(5, 64, 2, 0.25) > 0
    assert counting[:32].sum(0).tolist() == counting[32:].sum(0).tolist() == [8, 8]
    assert not (counting[:, 0] & counting[:, 1]).any()
