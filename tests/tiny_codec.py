"""Chances of the codes of the tiny chain's pictures, and codes that nobody chose."""

import torch
from tiny_chain import prior, shared_bundle

from pictogram.lm.code_chances import PriorChances
from pictogram.lm.coding_prior import coding_prior
from pictogram.lm.static_chances import StaticChances, count_codes

SIZES = [6, 9]
NUM_CODES = 5


def chances(order: str = "level", seed: int = 0) -> PriorChances:
    vocabulary = shared_bundle(order).vocabulary
    return PriorChances(coding_prior(prior(vocabulary, seed=seed)), vocabulary, "2x2", 64)


def static_chances(order: str = "level") -> StaticChances:
    generator = torch.Generator().manual_seed(7)
    codes = [torch.randint(6, (40, 1, 1), generator=generator), torch.randint(9, (40, 2, 2), generator=generator)]
    return count_codes(iter([codes]), SIZES, ((1, 1), (2, 2)), order)


def drawn_codes(source: PriorChances | StaticChances, count: int, seed: int = 0) -> torch.Tensor:
    """(count, 5) int64."""
    generator = torch.Generator().manual_seed(seed)
    columns = [torch.randint(SIZES[level], (count,), generator=generator) for level in source.levels]
    return torch.stack(columns, 1)
