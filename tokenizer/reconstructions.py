"""Pictures beside their decodings from every prefix of levels, batch by batch, in 8-bit values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from .image_processor import to_8bit
from .interface import ImageCodes, TokenizesImages
from .padding import Box
from .pixel_dataset import PixelDataset


@dataclass(frozen=True)
class Reconstructions:
    """Some pictures of a dataset and what a tokenizer makes of them.

    Attributes:
        codes: one int64 (B, h_l, w_l) per level, on the CPU.
        original: (B, C, H, W) whole numbers 0..255, float32.
        prefixes: the same of the pictures decoded from the first level, the first two, ...; None for a prefix that the
            tokenizer does not decode.
        boxes: where each picture lies in its pixels; around it there is only padding.
    """

    codes: ImageCodes
    original: torch.Tensor
    prefixes: list[torch.Tensor | None]
    boxes: list[Box]


@torch.no_grad()
def reconstruct(
    model: TokenizesImages,
    dataset: PixelDataset,
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Reconstructions]:
    """Encodes all pictures of `dataset` in order and decodes them from every prefix of levels.

    Args:
        model: in evaluation mode.
        dataset: pictures of one size.
        batch_size: pictures at a time.
        progress: called with the number of pictures done since the last call.
    """
    for rows in row_batches(len(dataset), batch_size):
        pixel_values = dataset.pixels(rows).to(model.device)
        codes = model.encode(pixel_values)
        decoded = decode_prefixes(model, codes)
        yield Reconstructions(
            codes=tuple(level.cpu() for level in codes),
            original=to_8bit(pixel_values),
            prefixes=[None if pixels is None else to_8bit(pixels) for pixels in decoded],
            boxes=[dataset.content_box(row) for row in rows],
        )
        if progress:
            progress(len(rows))


def row_batches(num_rows: int, batch_size: int) -> Iterator[range]:
    """All rows in order, `batch_size` at a time.

    Example:
        >>> [list(rows) for rows in row_batches(5, 2)]
        [[0, 1], [2, 3], [4]]
    """
    for first in range(0, num_rows, batch_size):
        yield range(first, min(first + batch_size, num_rows))


def decode_prefixes(model: TokenizesImages, codes: ImageCodes) -> list[torch.Tensor | None]:
    """Codes -> (B, C, H, W) in [-1, 1] from the first level, the first two, ...; None where the tokenizer refuses."""
    decoded: list[torch.Tensor | None] = []
    for num_levels in range(1, len(codes) + 1):
        try:
            decoded.append(model.decode(codes, num_levels))
        except InputError:  # the codes are the tokenizer's own, so what it refuses is the prefix, or to decode at all
            decoded.append(None)
    return decoded


def over_contents(boxes: Sequence[Box], function: Callable[..., torch.Tensor], *pixels: torch.Tensor) -> torch.Tensor:
    """Applies a function of whole pictures to what lies inside their boxes.

    Args:
        boxes: one per picture.
        function: one or more (b, C, h, w), pictures of one size -> (b, ...).
        pixels: one or more (B, C, H, W), its arguments.

    Returns:
        (B, ...) in the order of the pictures.
    """
    groups: dict[Box, list[int]] = {}
    for place, box in enumerate(boxes):
        groups.setdefault(box, []).append(place)
    parts = [function(*(box.of(values[places]) for values in pixels)) for box, places in groups.items()]
    order = torch.tensor([place for places in groups.values() for place in places])
    return torch.cat(parts)[order.argsort().to(parts[0].device)]
