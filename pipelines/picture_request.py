"""What somebody wants drawn: prompts, seeds, and codes that are settled already, one of each per picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from typing import Any, TypeVar

import torch

from ..hub.errors import InputError
from ..lm.image_sampler import DRAWN, given_ids
from ..lm.vocabulary import JointVocabulary
from ..tokenizer.interface import ImageCodes
from .bundle_pipeline import check_positive

Value = TypeVar("Value")

_MOST_PICTURES = 1_000_000
"""In one request, whose words and seeds are spelled out."""


@dataclass(frozen=True, eq=False)
class PictureRequest:
    """N pictures of one size.

    Attributes:
        prompts: words of each; empty ones ask for any picture.
        seeds: of each.
        size: name of their size.
        given: LongTensor (N, n) of ids in document order that are settled, `DRAWN` for those to be drawn.
    """

    prompts: list[str]
    seeds: list[int]
    size: str
    given: torch.Tensor

    def __len__(self) -> int:
        return len(self.prompts)

    def part(self, rows: slice) -> PictureRequest:
        """Some of the pictures."""
        return PictureRequest(self.prompts[rows], self.seeds[rows], self.size, self.given[rows])


def new_request(
    vocabulary: JointVocabulary,
    prompts: str | Sequence[str],
    *,
    num_images: int,
    seed: int | Sequence[int],
    size: str | None = None,
    symbol: int | Sequence[int] | None = None,
    coarse_codes: ImageCodes | None = None,
) -> PictureRequest:
    """Checks and spells out what was asked for, all pictures of the first prompt first.

    Args:
        vocabulary: of the bundle.
        prompts: one or several.
        num_images: pictures per prompt, at least 1.
        seed: of the first picture, the others count up from it; or one seed per picture.
        size: name of a size; by default the vocabulary's first one.
        symbol: whole-image code of all pictures, or one for each.
        coarse_codes: LongTensors (N or 1, h_l, w_l) of the first levels, kept as they are.

    Raises:
        InputError: nothing to draw, seeds or symbols that are too many or too few, an unknown size, codes outside their
            codebooks or of other grids, or a symbol where there is no whole-image code or codes already give it.
    """
    prompts = [prompts] if isinstance(prompts, str) else list(prompts or ())
    if not prompts or not all(isinstance(prompt, str) for prompt in prompts):
        raise InputError(f"at least one prompt is expected, and words in each, got {prompts!r}")
    count = len(prompts) * check_positive("num_images", num_images)
    seeds = spell_seeds(seed, count)
    repeated = [prompt for prompt in prompts for _ in range(num_images)]
    size = next(iter(vocabulary.sizes)) if size is None else size
    codes = [torch.full((count, *grid), DRAWN) for grid in vocabulary.grids(size)]
    if coarse_codes is not None:
        _keep(codes, coarse_codes)
    if symbol is not None:
        _set_symbol(codes, symbol, count, vocabulary.codebook_sizes[0])
    return PictureRequest(repeated, seeds, size, given_ids(vocabulary, tuple(codes)))


def check_picture_count(count: int) -> None:
    """Raises InputError for more pictures than anybody could wait for."""
    if count > _MOST_PICTURES:
        raise InputError(f"at most {_MOST_PICTURES:,} pictures can be asked for at a time, got {count:,}")


def spell_seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed for each of `count` pictures: counted up from a single one, or as they are given.

    Raises:
        InputError: too many or too few, no whole numbers, or see `check_picture_count`.
    """
    check_picture_count(count)
    values = _whole_numbers("seed", seed)
    return list(range(values, values + count)) if isinstance(values, int) else _each("seed", values, count)


def _keep(codes: list[torch.Tensor], coarse: ImageCodes) -> None:
    """Writes the codes of the first levels into the grids of all."""
    if len(coarse) > len(codes):
        raise InputError(f"coarse_codes have {len(coarse)} levels, the bundle's pictures {len(codes)}")
    for level, (grid, kept) in enumerate(zip(codes, map(torch.as_tensor, coarse), strict=False)):
        if kept.ndim != 3 or len(kept) not in (1, len(grid)) or kept.shape[1:] != grid.shape[1:]:
            expected = f"({len(grid)} or 1, {grid.shape[1]}, {grid.shape[2]})"
            raise InputError(f"coarse_codes of level {level} have shape {tuple(kept.shape)}, expected {expected}")
        if int(kept.min()) < 0:
            raise InputError(f"coarse_codes of level {level} must be 0 or more, got {int(kept.min())}")
        grid[:] = kept.cpu()


def _set_symbol(codes: list[torch.Tensor], symbol: int | Sequence[int], count: int, codebook_size: int) -> None:
    if codes[0].shape[1:] != (1, 1):
        grid = f"{codes[0].shape[1]}x{codes[0].shape[2]}"
        raise InputError(f"a symbol needs a tokenizer with a whole-image code; the coarsest grid here is {grid}")
    if int(codes[0][0, 0, 0]) != DRAWN:
        raise InputError("coarse_codes hold a whole-image code already; leave out symbol")
    values = _whole_numbers("symbol", symbol)
    symbols = [values] * count if isinstance(values, int) else _each("symbol", values, count)
    wrong = [value for value in symbols if not 0 <= value < codebook_size]
    if wrong:
        raise InputError(f"a symbol is a whole-image code, 0 to {codebook_size - 1}, got {wrong[0]}")
    codes[0][:, 0, 0] = torch.tensor(symbols)


def _whole_numbers(name: str, value: Any) -> int | list[int]:
    """One whole number or several, of Python, numpy or torch."""
    try:
        if isinstance(value, Sequence) or getattr(value, "ndim", 0):
            return [index(each) for each in value]
        return index(value)
    except TypeError as error:
        raise InputError(f"{name} must be a whole number, or one for each picture, got {value!r}") from error


def _each(name: str, values: Sequence[Value], count: int) -> list[Value]:
    if len(values) != count:
        raise InputError(f"one {name} per picture is expected, {count} in all, got {len(values)}")
    return list(values)
