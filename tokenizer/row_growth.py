"""Where a codebook lacks rows for new pictures, and which of its rows they invoke."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .adaptation_config import AdaptationSettings
from .growth import grow_codebooks
from .image_processor import ImageTokenizerImageProcessorPil
from .kmeans import kmeans
from .level_latents import LevelLatents, level_latents
from .model import ImageTokenizer
from .pixel_dataset import PixelDataset
from .quantizer import nearest

_MOST_LATENTS = 1 << 16
"""Latents of a level that are looked at."""


@dataclass(frozen=True, eq=False)
class LevelUse:
    """How old and new pictures use one level's codes, as they were before.

    Attributes:
        old: (K,) float64, share of the old pictures' cells that have each code.
        new: (K,) float64, the same of the new pictures.
        invoked: (K,) bool, codes that the new pictures use more than a threshold.
        moved: (K,) bool, invoked codes whose use is mostly the new pictures'.
    """

    old: torch.Tensor
    new: torch.Tensor
    invoked: torch.Tensor
    moved: torch.Tensor


def level_uses(
    old: Sequence[LevelLatents], new: Sequence[LevelLatents], sizes: Sequence[int], settings: AdaptationSettings
) -> list[LevelUse]:
    """Which rows of each level the new pictures invoke, and which of those may move.

    Args:
        old: latents and codes of the old pictures, one entry a level.
        new: the same of the new pictures.
        sizes: codes per level.
        settings: `invoked_share` and `own_share`.
    """
    uses: list[LevelUse] = []
    for before, after, size in zip(old, new, sizes, strict=True):
        shares = [torch.bincount(each.codes, minlength=size).double() / len(each.codes) for each in (before, after)]
        invoked = shares[1] > settings.invoked_share / size
        own = shares[1] >= settings.own_share * (shares[0] + shares[1])
        uses.append(LevelUse(shares[0], shares[1], invoked, invoked & own))
    return uses


def survey(model: ImageTokenizer, dataset: PixelDataset, seed: int) -> list[LevelLatents]:
    """Latents and codes of pictures, level by level, not too many."""
    return level_latents(model, dataset, most=_MOST_LATENTS, seed=seed)


def missing_rows(
    model: ImageTokenizer,
    processor: ImageTokenizerImageProcessorPil,
    old: Sequence[LevelLatents],
    new: PixelDataset,
    counts: Sequence[int],
    settings: AdaptationSettings,
) -> list[torch.Tensor]:
    """New rows of every level: centres of those latents that the old pictures' errors say are badly quantized.

    Finer levels see what coarser codes have said, so each is looked at with the new rows of coarser ones.

    Args:
        model: in evaluation mode; it stays as it is.
        processor: of its pixels.
        old: latents of the old pictures.
        new: the new pictures.
        counts: rows that each level is to gain at most.
        settings: `quantile` and `seed`.

    Returns:
        One (n, D) a level; n is smaller than asked for where fewer latents lie beyond the quantile.
    """
    rows = [torch.empty(0, model.config.codebook_dim) for _ in counts]
    for level, count in enumerate(counts):
        if not count:
            continue
        grown = grow_codebooks(model, processor, rows).to(model.device)  # pyright: ignore[reportArgumentType]
        latents = survey(grown, new, settings.seed)[level]
        limit = latent_errors(old[level], model.code_vectors(level)).quantile(settings.quantile)
        errors = latent_errors(latents, grown.code_vectors(level))
        beyond = latents.latents[errors > limit]
        if len(beyond):
            rows[level] = kmeans(beyond, min(count, len(beyond)), seed=settings.seed)
    return rows


def reserved_rows(
    model: ImageTokenizer,
    processor: ImageTokenizerImageProcessorPil,
    old: PixelDataset,
    new: PixelDataset,
    rows: Sequence[torch.Tensor],
    settings: AdaptationSettings,
) -> list[torch.Tensor]:
    """Those new rows that stay the new pictures' own when the old pictures are encoded again.

    A row that old latents choose, too, gives old pictures other codes. Without it they go back to their old rows, or on
    to its neighbours among the new ones, which are counted again.

    Latents are counted for the nearest row; where bits count, `encode` takes new rows less often than that.

    Args:
        model: in evaluation mode; it stays as it is.
        processor: of its pixels.
        old: the old pictures.
        new: the new pictures.
        rows: (n, D) new ones a level.
        settings: `own_share` and `seed`.

    Returns:
        One (m, D) a level, m <= n, in their order.
    """
    kept = [each[:0] for each in rows]
    for level, candidates in enumerate(rows):
        if not len(candidates):
            continue
        grown = grow_codebooks(model, processor, kept).to(model.device)  # pyright: ignore[reportArgumentType]
        clouds = [survey(grown, pictures, settings.seed)[level].latents for pictures in (old, new)]
        kept[level] = _own_rows(clouds[0], clouds[1], model.code_vectors(level).cpu(), candidates, settings.own_share)
    return kept


def _own_rows(
    old: torch.Tensor, new: torch.Tensor, table: torch.Tensor, rows: torch.Tensor, own_share: float
) -> torch.Tensor:
    """Those of (n, D) rows behind a (K, D) table whose use by (N, D) latents is mostly the new ones'."""
    while len(rows):
        whole = torch.cat([table, rows])
        uses = [torch.bincount(nearest(cloud, whole), minlength=len(whole))[len(table) :] for cloud in (old, new)]
        shares = [use.double() / len(cloud) for use, cloud in zip(uses, (old, new), strict=True)]
        own = shares[1] >= own_share * (shares[0] + shares[1])
        if own.all():
            break
        rows = rows[own]
    return rows


def latent_errors(found: LevelLatents, table: torch.Tensor) -> torch.Tensor:
    """(N,) squared distances of latents from the vectors of their codes, mean over D."""
    return (found.latents - table.cpu()[found.codes]).square().mean(1)
