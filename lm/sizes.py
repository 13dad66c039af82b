"""Image sizes of a vocabulary: their names, and whether they fit its levels and control tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..hub.errors import InputError
from .order import Grids, document_order
from .segments import CONTROL_TOKENS, image_start_token


def size_name(grids: Grids) -> str:
    """A size is named by its coarsest spatial grid: "4x4" (rows x columns); "1x1" if there is only the whole image."""
    rows, cols = next((grid for grid in grids if grid != (1, 1)), (1, 1))
    return f"{rows}x{cols}"


def name_sizes(sizes: Sequence[Grids]) -> dict[str, Grids]:
    """The sizes by name.

    Raises:
        InputError: two sizes have one name.
    """
    named: dict[str, Grids] = {}
    for grids in sizes:
        other = named.setdefault(size_name(grids), grids)
        if other != grids:
            raise InputError(
                f"two sizes share the coarsest spatial grid {size_name(grids)}: "
                f"{spell_grids(other)} and {spell_grids(grids)}"
            )
    return named


def spell_grids(grids: Grids) -> str:
    """For messages.

    Example:
        >>> spell_grids(((1, 1), (4, 4)))
        '1x1+4x4'
    """
    return "+".join(f"{rows}x{cols}" for rows, cols in grids)


def check_sizes(sizes: Mapping[str, Grids], order: str, num_levels: int, control_tokens: Sequence[str]) -> None:
    """Every size fits the levels and has its control token, and no control token is missing or double.

    Args:
        sizes: grids by name.
        order: of the codes in documents.
        num_levels: of the vocabulary.
        control_tokens: of the vocabulary, those of the sizes among them.

    Raises:
        InputError: one of these is not so.
    """
    if not sizes:
        raise InputError("a vocabulary needs at least one image size")
    for name, grids in sizes.items():
        document_order(grids, order)
        if size_name(grids) != name or len(grids) != num_levels:
            raise InputError(
                f"size {name} has grids {spell_grids(grids)}, expected {num_levels} levels "
                f"and the coarsest spatial grid {name}"
            )
    needed = {*CONTROL_TOKENS, *map(image_start_token, sizes)}
    unknown = {token for token in control_tokens if token.startswith("<image ")} - needed
    if needed - set(control_tokens) or unknown or len(set(control_tokens)) != len(control_tokens):
        raise InputError(f"control tokens are {list(control_tokens)}, expected each of {sorted(needed)} once")
