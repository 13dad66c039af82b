"""What the codebooks see: the latents of every level, before they become codes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .batches import derived_generator
from .model import ImageTokenizer
from .pixel_dataset import PixelDataset
from .reconstructions import row_batches


@dataclass(frozen=True, eq=False)
class LevelLatents:
    """Latents of one level and the codes that they became.

    Attributes:
        latents: (N, D) float32; N pictures times cells, or as many of them as were asked for.
        codes: (N,) int64.
        rows: (N,) int64, which picture each is of.
    """

    latents: torch.Tensor
    codes: torch.Tensor
    rows: torch.Tensor


@torch.no_grad()
def level_latents(
    model: ImageTokenizer,
    dataset: PixelDataset,
    *,
    most: int | None = None,
    seed: int = 0,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[LevelLatents]:
    """Latents of pictures, each level given the codes of the coarser ones.

    Args:
        model: in evaluation mode.
        dataset: pictures of one size.
        most: latents of a level, drawn over all pictures and cells; None keeps all.
        seed: of that draw; it is the same for all tokenizers that have the same grids.
        batch_size: pictures at a time.
        progress: called with the number of pictures done since the last call.

    Returns:
        One entry a level, coarse to fine.
    """
    grids = model.config.grids(*dataset[0].shape[-2:])
    chosen = [_chosen(len(dataset) * rows * columns, most, seed, level) for level, (rows, columns) in enumerate(grids)]
    parts: list[list[LevelLatents]] = [[] for _ in grids]
    for rows in row_batches(len(dataset), batch_size):
        encoding = model.encoding(dataset.pixels(rows).to(model.device))
        for level, (height, width) in enumerate(grids):
            latents = encoding.next_latents()
            codes = model.choose_codes(level, latents, encoding.context)
            encoding.take(model.embed_codes(level, codes))
            cells = height * width
            kept = chosen[level][rows.start * cells : rows.stop * cells]  # (pictures * cells,) bool
            numbers = torch.arange(rows.start, rows.stop).repeat_interleave(cells)
            flat = latents.permute(0, 2, 3, 1).flatten(0, 2).float().cpu()
            parts[level].append(LevelLatents(flat[kept], codes.flatten().cpu()[kept], numbers[kept]))
        if progress:
            progress(len(rows))
    return [_join(level) for level in parts]


def _chosen(count: int, most: int | None, seed: int, level: int) -> torch.Tensor:
    """(count,) bool, at most so many of them true."""
    chosen = torch.ones(count, dtype=torch.bool)
    if most is not None and most < count:
        chosen[torch.randperm(count, generator=derived_generator(seed, "latents", level))[most:]] = False
    return chosen


def _join(parts: list[LevelLatents]) -> LevelLatents:
    names = ("latents", "codes", "rows")
    return LevelLatents(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})
