import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_splits import rows_by_key

KEYS = [f"row-{index:06d}" for index in range(4000)]
FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}


def parts_of(keys: list[str], *arguments, **options) -> dict[str, str]:
    """Key -> part."""
    return {keys[row]: name for name, rows in rows_by_key(keys, *arguments, **options).items() for row in rows}


def test_fractions_are_met_up_to_chance():
    parts = rows_by_key(KEYS, FRACTIONS)
    assert sorted(row for rows in parts.values() for row in rows) == list(range(4000))
    for name, fraction in FRACTIONS.items():
        deviation = math.sqrt(4000 * fraction * (1 - fraction))
        assert abs(len(parts[name]) - 4000 * fraction) < 4 * deviation
        assert parts[name] == sorted(parts[name])


def test_the_order_of_rows_does_not_matter():
    shuffled = random.Random(0).sample(KEYS, len(KEYS))
    assert parts_of(shuffled, FRACTIONS) == parts_of(KEYS, FRACTIONS)


def test_a_key_stays_when_others_go():
    whole, few = parts_of(KEYS, FRACTIONS), parts_of(KEYS[::7], FRACTIONS)
    assert few == {key: whole[key] for key in KEYS[::7]}


def test_the_same_on_every_machine():
    """Written down: a change of the hash would silently move pictures between training and test."""
    keys = ["a.png", "b.png", "c.png", "日本.png", "", "row-000000", "row-000001", "row-000002"]
    assert rows_by_key(keys, {"train": 0.5, "test": 0.5}) == {"train": [2, 3, 4, 7], "test": [0, 1, 5, 6]}


def test_views_of_a_picture_stay_together():
    keys = [key for key in KEYS[:50] for _ in range(3)]
    parts = rows_by_key(keys, FRACTIONS)
    names = {name: {keys[row] for row in rows} for name, rows in parts.items()}
    assert sum(map(len, names.values())) == len(set().union(*names.values())) == 50


def test_seeds_deal_anew():
    assert parts_of(KEYS, FRACTIONS, seed=1) != parts_of(KEYS, FRACTIONS)
    overlap = set(rows_by_key(KEYS, FRACTIONS, 1)["test"]) & set(rows_by_key(KEYS, FRACTIONS, 2)["test"])
    assert len(overlap) < 80  # 40 by chance


@pytest.mark.parametrize(
    "fractions",
    [{"a": 1.0}, {"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {"a": 0.9, "b": 0.1000001}],
)
def test_sums_within_rounding(fractions):
    assert sum(map(len, rows_by_key(KEYS[:100], fractions).values())) == 100


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ({"train": 0.9, "test": 0.2}, "must add up to 1, got 1.1"),
        ({"train": 0.9}, "must add up to 1, got 0.9"),
        ({}, "must add up to 1, got 0"),
        ({"train": 1.5, "test": -0.5}, "above 0 and at most 1, got 'train': 1.5, 'test': -0.5"),
        ({"train": 1.0, "test": 0.0}, "'test': 0.0"),
        ({"train": float("nan"), "test": 1.0}, "'train': nan"),
    ],
)
def test_impossible_fractions(fractions, message):
    with pytest.raises(InputError, match=message):
        rows_by_key(KEYS, fractions)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(), max_size=20), st.integers(0, 2**32), st.integers(1, 99))
def test_every_row_falls_into_one_part(keys, seed, percent):
    parts = rows_by_key(keys, {"a": percent / 100, "b": 1 - percent / 100}, seed)
    assert sorted(parts["a"] + parts["b"]) == list(range(len(keys)))
