"""What the codes of a tokenizer were used for: which pictures, how often, how exactly, and for which classes.

A *use* of a code is one cell of one picture whose code it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .clustering_scores import contingency_table
from .code_statistics import entropy
from .images import ClassLabels
from .model import ImageTokenizer
from .pixel_dataset import PixelDataset
from .reconstructions import row_batches


@dataclass(frozen=True, eq=False)
class LevelSurvey:
    """The uses of one level's codes in N pictures of P cells each.

    Attributes:
        codes: (N, P) int64, cells in raster order.
        errors: (N, P) float32, squared distance of each cell's latents, as the quantizer compares them, from the code's
            vector, mean over D.
        codebook_size: K.
    """

    codes: torch.Tensor
    errors: torch.Tensor
    codebook_size: int

    @property
    def counts(self) -> torch.Tensor:
        """(K,) int64 uses of each code."""
        return torch.bincount(self.codes.flatten(), minlength=self.codebook_size)

    @property
    def mean_errors(self) -> torch.Tensor:
        """(K,) float64, mean of `errors` over the uses of each code; NaN where there is none."""
        sums = torch.zeros(self.codebook_size, dtype=torch.float64)
        return sums.index_add_(0, self.codes.flatten(), self.errors.flatten().double()) / self.counts

    def examples(self, most: int) -> torch.Tensor:
        """(K, most, 2) int64: row and cell of the uses whose latents are nearest to each code's vector, nearest first.

        A picture counts once a code. -1 where there are fewer.
        """
        flat, cells = self.codes.flatten(), self.codes.shape[1]
        found = torch.full((self.codebook_size, most, 2), -1)
        taken = torch.zeros(self.codebook_size, dtype=torch.int64)
        seen: set[tuple[int, int]] = set()
        order = self.errors.flatten().argsort(stable=True)
        for use, code in zip(order.tolist(), flat[order].tolist(), strict=True):
            row = use // cells
            if taken[code] < most and (code, row) not in seen:
                seen.add((code, row))
                found[code, taken[code]] = torch.tensor([row, use % cells])
                taken[code] += 1
        return found

    def presence(self) -> torch.Tensor:
        """(N, K) bool: which codes occur in which pictures."""
        found = torch.zeros(len(self.codes), self.codebook_size, dtype=torch.bool)
        return found.scatter_(1, self.codes, True)

    def label_counts(self, labels: ClassLabels) -> torch.Tensor:
        """(K, classes) int64 uses of each code in pictures of each class; pictures without a label are left out."""
        classes = labels.values[:, None].expand_as(self.codes)
        known = classes >= 0
        return contingency_table(self.codes[known], classes[known], (self.codebook_size, len(labels.names)))


@torch.no_grad()
def survey_symbols(
    model: ImageTokenizer,
    dataset: PixelDataset,
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> list[LevelSurvey]:
    """Encodes pictures and keeps what became of every cell.

    Args:
        model: in evaluation mode.
        dataset: pictures of one size.
        batch_size: pictures at a time.
        progress: called with the number of pictures done since the last call.

    Returns:
        One entry a level, coarse to fine.
    """
    sizes = model.config.codebook_sizes
    codes: list[list[torch.Tensor]] = [[] for _ in sizes]
    errors: list[list[torch.Tensor]] = [[] for _ in sizes]
    for rows in row_batches(len(dataset), batch_size):
        encoding = model.encoding(dataset.pixels(rows).to(model.device))
        for level in range(len(sizes)):
            latents = encoding.next_latents()
            chosen = model.choose_codes(level, latents, encoding.context)
            vectors, compared = model.embed_codes(level, chosen), model.compared_latents(level, latents)
            encoding.take(vectors)
            codes[level].append(chosen.flatten(1).cpu())
            errors[level].append((compared - vectors).square().mean(1).flatten(1).cpu())
        if progress:
            progress(len(rows))
    return [LevelSurvey(torch.cat(c), torch.cat(e), size) for c, e, size in zip(codes, errors, sizes, strict=True)]


def label_entropies(label_counts: torch.Tensor) -> list[float | None]:
    """Bits of doubt about the class of a use of each code, from (K, classes) counts; None for a code without any."""
    return [entropy(row) if row.sum() else None for row in label_counts]
