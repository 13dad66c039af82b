"""What somebody wants drawn: prompts, seeds, and codes that are settled already, one of each per picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ..hub.errors import InputError
from ..lm.image_sampler import DRAWN, given_ids
from ..lm.vocabulary import JointVocabulary
from ..tokenizer.interface import ImageCodes
from .bundle_pipeline import check_positive

Value = TypeVar("Value")


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
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    if not prompts:
        raise InputError("at least one prompt is expected, got none")
    repeated = [prompt for prompt in prompts for _ in range(check_positive("num_images", num_images))]
    count = len(repeated)
    seeds = spell_seeds(seed, count)
    size = next(iter(vocabulary.sizes)) if size is None else size
    codes = [torch.full((count, *grid), DRAWN) for grid in vocabulary.grids(size)]
    if coarse_codes is not None:
        _keep(codes, coarse_codes)
    if symbol is not None:
        _set_symbol(codes, symbol, count)
    return PictureRequest(repeated, seeds, size, given_ids(vocabulary, tuple(codes)))


def spell_seeds(seed: int | Sequence[int], count: int) -> list[int]:
    """One seed for each of `count` pictures: counted up from a single one, or as they are given.

    Raises:
        InputError: too many or too few.
    """
    return list(range(seed, seed + count)) if isinstance(seed, int) else _each("seed", seed, count)


def _keep(codes: list[torch.Tensor], coarse: ImageCodes) -> None:
    """Writes the codes of the first levels into the grids of all."""
    if len(coarse) > len(codes):
        raise InputError(f"coarse_codes have {len(coarse)} levels, the bundle's pictures {len(codes)}")
    for level, (grid, kept) in enumerate(zip(codes, coarse, strict=False)):
        if kept.ndim != 3 or len(kept) not in (1, len(grid)) or kept.shape[1:] != grid.shape[1:]:
            expected = f"({len(grid)} or 1, {grid.shape[1]}, {grid.shape[2]})"
            raise InputError(f"coarse_codes of level {level} have shape {tuple(kept.shape)}, expected {expected}")
        if int(kept.min()) < 0:
            raise InputError(f"coarse_codes of level {level} must be 0 or more, got {int(kept.min())}")
        grid[:] = kept.cpu()


def _set_symbol(codes: list[torch.Tensor], symbol: int | Sequence[int], count: int) -> None:
    if codes[0].shape[1:] != (1, 1):
        grid = f"{codes[0].shape[1]}x{codes[0].shape[2]}"
        raise InputError(f"a symbol needs a tokenizer with a whole-image code; the coarsest grid here is {grid}")
    if int(codes[0][0, 0, 0]) != DRAWN:
        raise InputError("coarse_codes hold a whole-image code already; leave out symbol")
    symbols = [symbol] * count if isinstance(symbol, int) else _each("symbol", symbol, count)
    if min(symbols) < 0:
        raise InputError(f"a symbol must be 0 or more, got {min(symbols)}")
    codes[0][:, 0, 0] = torch.tensor(symbols)


def _each(name: str, values: Sequence[Value], count: int) -> list[Value]:
    if len(values) != count:
        raise InputError(f"one {name} per picture is expected, {count} in all, got {len(values)}")
    return list(values)
