import pytest

from pictogram.hub.errors import InputError
from pictogram.lm.segments import CONTROL_TOKENS
from pictogram.lm.sizes import check_sizes, name_sizes, size_name, spell_grids
from pictogram.lm.vocabulary import JointVocabulary

SMALL = ((1, 1), (2, 2), (4, 4))
WIDE = ((1, 1), (2, 4), (4, 8))
TOKENS = [*CONTROL_TOKENS, "<image 2x2>", "<image 2x4>"]


@pytest.mark.parametrize(
    ("grids", "name"),
    [(SMALL, "2x2"), (WIDE, "2x4"), (((1, 1),), "1x1"), (((1, 1), (1, 1)), "1x1"), (((3, 5),), "3x5")],
)
def test_a_size_is_named_by_its_coarsest_spatial_grid(grids, name):
    assert size_name(grids) == name
    vocabulary = JointVocabulary.from_scratch(1, [2] * len(grids), [grids])
    assert vocabulary.size_of(grids) == name
    assert vocabulary.grids(name) == grids


def test_sizes_by_name():
    assert name_sizes([SMALL, WIDE, SMALL]) == {"2x2": SMALL, "2x4": WIDE}
    with pytest.raises(InputError, match=r"share the coarsest spatial grid 2x2: 1x1\+2x2\+4x4 and 1x1\+2x2\+2x2"):
        name_sizes([SMALL, ((1, 1), (2, 2), (2, 2))])
    assert spell_grids(WIDE) == "1x1+2x4+4x8"


def test_sizes_fit_their_levels_and_tokens():
    check_sizes({"2x2": SMALL, "2x4": WIDE}, "level", 3, TOKENS)


@pytest.mark.parametrize(
    ("sizes", "order", "num_levels", "tokens", "message"),
    [
        ({}, "level", 3, TOKENS[:5], "at least one image size"),
        ({"2x2": SMALL}, "spiral", 3, TOKENS[:6], "spiral"),
        ({"2x2": SMALL}, "level", 2, TOKENS[:6], "expected 2 levels"),
        ({"4x4": SMALL}, "level", 3, TOKENS[:6], "and the coarsest spatial grid 4x4"),
        ({"2x2": SMALL}, "level", 3, TOKENS, "expected each of"),
        ({"2x2": SMALL, "2x4": WIDE}, "level", 3, TOKENS[:6], "expected each of"),
        ({"2x2": SMALL}, "level", 3, TOKENS[1:6], "expected each of"),
        ({"2x2": SMALL}, "level", 3, [*TOKENS[:6], "<bos>"], "expected each of"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, order, num_levels, tokens, message):
    with pytest.raises(InputError, match=message):
        check_sizes(sizes, order, num_levels, tokens)
