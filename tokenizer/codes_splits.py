"""Parts of a dataset by the names of its rows: the same for any order of rows, number of files and machine."""

from __future__ import annotations

import bisect
import hashlib
import math
from collections.abc import Iterable, Mapping
from itertools import accumulate

from ..hub.errors import InputError

_ROUNDING = 1e-6
"""How far fractions may add up to something else than 1."""


def rows_by_key(keys: Iterable[str], fractions: Mapping[str, float], seed: int = 0) -> dict[str, list[int]]:
    """Deals rows out to named parts, each by the SHA-256 of its key alone.

    A part gets its fraction of the keys, up to the luck of the draw. Rows with one key, such as the views of one
    picture, fall into one part, and a key stays where it is when others come or go.

    Args:
        keys: of all rows.
        fractions: above 0 and of sum 1, by the part's name; their order counts.
        seed: another one deals anew.

    Returns:
        Row numbers of every part, ascending.

    Raises:
        InputError: there are no fractions, one is not above 0, or they do not add up to 1.

    Example:
        >>> rows_by_key(["a", "b", "c", "d", "a"], {"train": 0.75, "test": 0.25})
        {'train': [1, 2, 3], 'test': [0, 4]}
    """
    _check(fractions)
    names = list(fractions)
    bounds = list(accumulate(fractions.values()))[:-1]  # the last part gets what rounding leaves
    rows: dict[str, list[int]] = {name: [] for name in names}
    for row, key in enumerate(keys):
        rows[names[bisect.bisect_right(bounds, _draw(key, seed))]].append(row)
    return rows


def _draw(key: str, seed: int) -> float:
    """A number in [0, 1) that is uniform over keys."""
    digest = hashlib.sha256(f"{seed}/{key}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: a float holds them exactly


def _check(fractions: Mapping[str, float]) -> None:
    wrong = [f"{name!r}: {fraction}" for name, fraction in fractions.items() if not 0 < fraction <= 1]
    if wrong:
        raise InputError(f"fractions must be above 0 and at most 1, got {', '.join(wrong)}")
    total = math.fsum(fractions.values())
    if not math.isclose(total, 1, abs_tol=_ROUNDING):
        raise InputError(f"fractions must add up to 1, got {total:g} of {dict(fractions)}")
