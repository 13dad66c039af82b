from collections.abc import Iterable

import numpy as np
import pyarrow
import pytest
import torch
from datasets import Dataset, Features, List, Value, concatenate_datasets

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_table import CodesTable, ListColumn

GRIDS = ((1, 1), (2, 3))
SIZES = [7, 23, 1, 9]  # rows of the pieces


def rows(count: int = sum(SIZES), dtype: str = "uint16", seed: int = 0) -> dict[str, list[list[int]]]:
    generator = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    return {
        f"codes_{level}": generator.integers(0, top, (count, height * width), dtype=dtype, endpoint=True).tolist()
        for level, (height, width) in enumerate(GRIDS)
    }


def table(content: dict[str, list[list[int]]], dtype: str = "uint16") -> pyarrow.Table:
    """In several pieces, the second of which is a part of longer arrays."""
    schema = pyarrow.schema({name: pyarrow.list_(pyarrow.type_for_alias(dtype)) for name in content})
    whole = pyarrow.table(content, schema=schema)
    ends = np.cumsum(SIZES).tolist()
    parts = [whole.slice(end - size, size) for end, size in zip(ends, SIZES, strict=True)]
    return pyarrow.concat_tables([part if part.num_rows == 23 else part.combine_chunks() for part in parts])


def expected(content: dict[str, list[list[int]]], wanted: Iterable[int]) -> list[torch.Tensor]:
    wanted = list(wanted)
    return [
        torch.tensor([content[f"codes_{level}"][row] for row in wanted]).view(len(wanted), *grid)
        for level, grid in enumerate(GRIDS)
    ]


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
@pytest.mark.parametrize(
    "wanted", [[0], [39], [5, 5, 39, 0, 5], [-1, -40, 3], list(range(40)), np.random.default_rng(1).permutation(40)]
)
def test_any_rows_in_any_order(wanted, dtype):
    content = rows(dtype=dtype)
    found = CodesTable(table(content, dtype), 2).codes(wanted, GRIDS)
    for level, right in zip(found, expected(content, [int(row) for row in wanted]), strict=True):
        assert level.dtype == torch.int64
        assert torch.equal(level, right)


def test_indices_of_every_kind():
    codes = CodesTable(table(rows()), 2)
    right = codes.codes([3, 1], GRIDS)
    arrays = [np.array([3, 1]), np.array([3, 1], np.uint16), torch.tensor([3, 1])]
    for kind in [*arrays, (3, 1), iter([3, 1]), [np.int32(3), 1], list(torch.tensor([3, 1])), range(3, 0, -2)]:
        assert all(torch.equal(a, b) for a, b in zip(codes.codes(kind, GRIDS), right, strict=True))


def test_no_rows():
    codes = CodesTable(table(rows()), 2)
    assert [tuple(level.shape) for level in codes.codes([], GRIDS)] == [(0, 1, 1), (0, 2, 3)]
    nothing = CodesTable(table(rows()).slice(0, 0), 2)
    assert len(nothing) == 0
    assert [tuple(level.shape) for level in nothing.codes([], GRIDS)] == [(0, 1, 1), (0, 2, 3)]


@pytest.mark.parametrize("row", [40, -41])
def test_rows_that_are_not_there(row):
    with pytest.raises(IndexError, match=r"0\.\.39"):
        CodesTable(table(rows()), 2).codes([0, row], GRIDS)


def test_parts_and_mixtures_of_datasets():
    content = rows()
    whole = Dataset(table(content))
    chosen = np.random.default_rng(2).permutation(40)
    views = {
        "select": (whole.select(chosen[:11]), chosen[:11]),
        "contiguous": (whole.select(range(5, 30)), range(5, 30)),
        "both": (whole.select(chosen).select(range(3, 9)), chosen[3:9]),
        "joined": (concatenate_datasets([whole.select(chosen[:4]), whole]), [*chosen[:4], *range(40)]),
        "none": (whole.select([]), []),
        "shuffled": (whole.shuffle(seed=0), None),
    }
    for name, (dataset, order) in views.items():
        right = expected(dataset.to_dict() if order is None else content, range(40) if order is None else order)
        view = CodesTable.of(dataset, 2)
        assert len(view) == len(dataset)
        for level, wanted in zip(view.codes(range(len(dataset)), GRIDS), right, strict=True):
            assert torch.equal(level, wanted), name
    last = CodesTable.of(views["select"][0], 2).codes([-1], GRIDS)[1]
    assert last.flatten().tolist() == content["codes_1"][int(chosen[10])]


def native() -> Dataset:
    """Pictures of two sizes, one code for the whole picture and one for each of 6 or 4 parts."""
    grids = [(2, 3), (2, 2), (2, 3), (3, 2), (2, 2)]
    features = Features(
        {
            **{f"codes_{level}": List(Value("uint16")) for level in range(2)},
            **{f"grid_{level}": List(Value("uint16"), 2) for level in range(2)},
        }
    )
    content = {
        "codes_0": [[index] for index in range(5)],
        "codes_1": [list(range(10 * index, 10 * index + h * w)) for index, (h, w) in enumerate(grids)],
        "grid_0": [[1, 1]] * 5,
        "grid_1": [list(grid) for grid in grids],
    }
    return Dataset.from_dict(content, features)


def test_rows_with_grids_of_their_own():
    codes = CodesTable.of(native(), 2)
    whole, parts = codes.codes([4, 1, 4], None)
    assert whole.flatten().tolist() == [4, 1, 4]
    assert parts[0].tolist() == [[40, 41], [42, 43]]
    assert codes.codes([3], None)[1].shape == (1, 3, 2)
    assert CodesTable.of(native().select([3, 0, 2]), 2).codes([1, 2], None)[1].shape == (2, 2, 3)
    with pytest.raises(InputError, match=r"equal grids, got \[\(\(1, 1\), \(2, 2\)\), \(\(1, 1\), \(2, 3\)\)\]"):
        codes.codes([0, 1], None)
    with pytest.raises(InputError, match="rows with equal grids"):  # as many codes, but another shape
        codes.codes([0, 3], None)
    with pytest.raises(InputError, match="rows with equal grids"):
        codes.codes([], None)


def test_lists_that_do_not_fit_their_grid():
    content = rows()
    with pytest.raises(InputError, match="codes_1 holds a row without the 4 codes"):
        CodesTable(table(content), 2).codes([0], [(1, 1), (2, 2)])
    content["codes_1"][8].pop()
    codes = CodesTable(table(content), 2)
    assert torch.equal(codes.codes([9, 7], GRIDS)[1], expected(content, [9, 7])[1])  # beside the row that is wrong
    with pytest.raises(InputError, match="codes_1 holds a row without the 6 codes"):
        codes.codes([9, 8], GRIDS)


@pytest.mark.parametrize("content", [[[1], None], [[1], [None]]])
def test_gaps_are_no_codes(content):
    column = pyarrow.chunked_array([pyarrow.array(content, pyarrow.list_(pyarrow.uint16()))])
    with pytest.raises(InputError, match="codes_0 holds rows or numbers that are null"):
        ListColumn("codes_0", column)


def test_reading_leaves_the_table_alone():
    codes = CodesTable(table(rows()), 2)
    first = codes.codes([0, 1], GRIDS)
    first[1].zero_()
    assert codes.codes([0, 1], GRIDS)[1].any()
