import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pictogram.hub.errors import InputError
from pictogram.lm.order import ORDERS, document_order, flatten, unflatten


@st.composite
def grids(draw):
    sides = [draw(st.sampled_from([(1, 1), (1, 2), (2, 1), (3, 2)]))]
    for _ in range(draw(st.integers(0, 2))):
        ratios = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        sides.append((sides[-1][0] * ratios[0], sides[-1][1] * ratios[1]))
    return tuple(sides)


@settings(deadline=None)
@given(grids(), st.sampled_from(ORDERS))
def test_flatten_and_unflatten_are_inverse(grids, order):
    codes = tuple(torch.randint(0, 1000, (2, *grid)) for grid in grids)
    flat = flatten(codes, order)
    assert flat.shape == (2, sum(rows * cols for rows, cols in grids))
    for before, after in zip(codes, unflatten(flat, grids, order), strict=True):
        assert torch.equal(before, after)


@settings(deadline=None)
@given(grids(), st.sampled_from(ORDERS))
def test_the_layout_names_the_cell_that_flatten_puts_there(grids, order):
    codes = tuple(torch.randint(0, 1000, (1, *grid)) for grid in grids)
    layout = document_order(grids, order)
    named = [codes[level][0, row, col] for level, row, col in zip(layout.levels, layout.rows, layout.cols, strict=True)]
    assert flatten(codes, order)[0].tolist() == [int(code) for code in named]
    assert sorted(layout.source.tolist()) == list(range(len(layout)))


@settings(deadline=None)
@given(grids())
def test_pyramid_puts_a_cell_before_its_children_and_a_subtree_in_one_run(grids):
    layout = document_order(grids, "pyramid")
    cells = list(zip(layout.levels.tolist(), layout.rows.tolist(), layout.cols.tolist(), strict=True))
    place = {cell: index for index, cell in enumerate(cells)}
    for level, row, col in cells:
        if level == 0:
            continue
        down, across = (fine // coarse for fine, coarse in zip(grids[level], grids[level - 1], strict=True))
        parent = place[level - 1, row // down, col // across]
        between = cells[parent + 1 : place[level, row, col]]
        assert parent < place[level, row, col]
        assert all(cell[0] >= level for cell in between)  # nothing but that parent's descendants


def test_level_order_is_raster_per_level():
    codes = (torch.tensor([[[7]]]), torch.tensor([[[1, 2], [3, 4]]]))
    assert flatten(codes, "level").tolist() == [[7, 1, 2, 3, 4]]


def test_pyramid_order_of_three_levels():
    fine = torch.arange(16).reshape(1, 4, 4) + 100
    codes = (torch.tensor([[[7]]]), torch.tensor([[[1, 2], [3, 4]]]), fine)
    expected = [7, 1, 100, 101, 104, 105, 2, 102, 103, 106, 107, 3, 108, 109, 112, 113, 4, 110, 111, 114, 115]
    assert flatten(codes, "pyramid").tolist() == [expected]


def test_pyramid_order_of_residual_levels_on_a_wide_grid():
    codes = (torch.tensor([[[1, 2, 3]]]), torch.tensor([[[11, 12, 13]]]))
    assert flatten(codes, "pyramid").tolist() == [[1, 11, 2, 12, 3, 13]]


@pytest.mark.parametrize("grids", [[(2, 2), (3, 4)], [(2, 2), (4, 3)], [(4, 4), (2, 2)]])
@pytest.mark.parametrize("order", ORDERS)
def test_grids_that_do_not_divide(grids, order):
    with pytest.raises(InputError, match="whole multiples"):
        document_order(grids, order)


@pytest.mark.parametrize("grids", [[], [(0, 1)], [(1, 1), (2, -2)]])
def test_empty_grids(grids):
    with pytest.raises(InputError, match="at least"):
        document_order(grids, "level")


def test_unknown_order_and_wrong_length():
    with pytest.raises(InputError, match="'spiral', expected one of level, pyramid"):
        document_order([(1, 1)], "spiral")
    with pytest.raises(InputError, match=r"expected \(images, 5\)"):
        unflatten(torch.zeros(1, 4), [(1, 1), (2, 2)], "level")
