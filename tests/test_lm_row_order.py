import pytest

from pictogram.hub.errors import InputError
from pictogram.lm.row_order import RowOrder
from pictogram.tokenizer.batches import global_batch

SIZES = [5, 3, 0, 7, 4, 6, 2]
NUM_ROWS = sum(SIZES)


@pytest.mark.parametrize("pool_size", [1, 2, 3, 100])
def test_every_epoch_has_every_row_once(pool_size: int):
    order = RowOrder(SIZES, seed=1, pool_size=pool_size)
    for epoch in range(3):
        assert sorted(order.rows(epoch * NUM_ROWS, NUM_ROWS)) == list(range(NUM_ROWS))
    assert order.rows(0, NUM_ROWS) != order.rows(NUM_ROWS, NUM_ROWS)


@pytest.mark.parametrize("pool_size", [1, 2, 100])
def test_any_part_is_a_part_of_the_whole(pool_size: int):
    whole = RowOrder(SIZES, seed=2, pool_size=pool_size).rows(0, 3 * NUM_ROWS)
    for first in range(0, 2 * NUM_ROWS, 5):
        assert RowOrder(SIZES, seed=2, pool_size=pool_size).rows(first, 13) == whole[first : first + 13]


def test_rows_of_few_shards_are_wanted_at_a_time():
    sizes = [10] * 20
    rows = RowOrder(sizes, seed=0, pool_size=4).rows(0, 200)
    for first in range(0, 200, 40):
        assert len({row // 10 for row in rows[first : first + 40]}) == 4
    assert rows[:10] != sorted(rows[:10])


def test_one_shard_is_shuffled_as_ever():
    assert RowOrder([NUM_ROWS], seed=3).rows(0, 40) == global_batch(NUM_ROWS, 40, 3, 0)


@pytest.mark.parametrize(("sizes", "pool_size"), [([], 1), ([0, 0], 1), ([3], 0), ([4, -1], 1)])
def test_no_rows_and_no_pool_are_refused(sizes, pool_size):
    with pytest.raises(InputError, match="must"):
        RowOrder(sizes, seed=0, pool_size=pool_size)
