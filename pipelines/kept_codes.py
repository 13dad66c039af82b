"""From a region of a picture to the codes that stand for it.

Pixels are kept or drawn anew. A code is kept if its whole cell is: the block of pixels that it stands for. So a
whole-image code is never kept.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..hub.errors import InputError
from ..lm.documents import images_to_ids
from ..lm.image_sampler import DRAWN
from ..lm.order import flatten
from ..lm.vocabulary import JointVocabulary
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.rgb import WHITE
from .picture_input import EncodedPictures, open_picture

Mask = Image.Image | str | os.PathLike[str] | np.ndarray | torch.Tensor

_HALF_WHITE = 128
_BLACK = (0, 0, 0)


@dataclass(frozen=True, eq=False)
class KeptCodes:
    """What is known of B pictures, in document order.

    Attributes:
        ids: LongTensor (B, n) of all codes of the originals.
        is_kept: BoolTensor (B, n).
        num_exact: LongTensor (B,), how many kept codes follow each other from the first place, or from the second
            behind a whole-image code: all that is drawn can be conditioned on these.
        has_image_code: whether the first place is a whole-image code.
        num_kept: LongTensor (B, L), kept codes of each level.
    """

    ids: torch.Tensor
    is_kept: torch.Tensor
    num_exact: torch.Tensor
    has_image_code: bool
    num_kept: torch.Tensor

    @property
    def given(self) -> torch.Tensor:
        """(B, n) ids of kept codes, `DRAWN` for the others."""
        return self.ids.where(self.is_kept, DRAWN)

    @property
    def is_forced(self) -> torch.Tensor:
        """(B, n) bool, True for kept codes behind the first one that is not: what precedes them does not know them."""
        places = torch.arange(self.is_kept.shape[1])
        return self.is_kept & (places >= self.num_exact[:, None] + self.has_image_code)

    def exact_ids(self, picture: int) -> torch.Tensor:
        """(num_exact,) ids of a picture's exact codes."""
        return self.ids[picture, self.has_image_code :][: int(self.num_exact[picture])]


def kept_codes(vocabulary: JointVocabulary, encoded: EncodedPictures, pixels: torch.Tensor) -> KeptCodes:
    """Which codes of pictures are kept.

    Args:
        vocabulary: of the bundle, which knows the order.
        encoded: the pictures.
        pixels: BoolTensor (B, H, W), True where a pixel is kept.

    Raises:
        InputError: no code of a picture is kept.
    """
    grids = vocabulary.grids(encoded.size)
    cells = kept_cells(pixels, grids)
    num_kept = torch.stack([level.sum((1, 2)) for level in cells], 1)
    for number in (num_kept.sum(1) == 0).nonzero().flatten().tolist():
        rows, columns = grids[-1]
        cell = f"{pixels.shape[2] // columns}x{pixels.shape[1] // rows}"
        raise InputError(f"picture {number} keeps no whole cell of {cell} pixels, so there is no code to go by")
    has_image_code = grids[0] == (1, 1)
    is_kept = flatten(cells, vocabulary.order)
    num_exact = count_leading(is_kept[:, has_image_code:])
    return KeptCodes(images_to_ids(vocabulary, encoded.codes), is_kept, num_exact, has_image_code, num_kept)


def kept_pixels(
    processor: ImageTokenizerImageProcessorPil,
    pictures: Sequence[Image.Image],
    *,
    keep_rows: float | None = None,
    mask: Mask | Sequence[Mask] | None = None,
) -> list[torch.Tensor]:
    """Which pixels are kept, of pictures as the image tokenizer reads them.

    Args:
        processor: makes those of the pictures; the region moves with them through crop, scale and padding. Padding is
            known, so it counts as kept.
        pictures: opened.
        keep_rows: share of the height, above 0 and below 1, that is kept at the top; of what the tokenizer reads,
            padding left out, in whole rows.
        mask: white (128 to 255, or True) where pixels are drawn anew, black where they are kept: one for all pictures
            or one for each, of its picture's size. Of a picture that is scaled, a pixel is kept if its area is all
            black (to one part in 500).

    Returns:
        One BoolTensor (H, W) per picture.

    Raises:
        InputError: both `keep_rows` and `mask` or neither, a share outside its range, a mask that cannot be read, that
            has another size than its picture, or that keeps nothing or everything.
    """
    if (keep_rows is None) == (mask is None):
        raise InputError(f"either keep_rows or a mask is expected, got {'neither' if mask is None else 'both'}")
    if keep_rows is not None:
        if not 0 < keep_rows < 1:
            raise InputError(f"keep_rows must be above 0 and below 1, got {keep_rows}")
        regions = [_top(processor, picture, keep_rows) for picture in pictures]
    else:
        masks = _one_for_each(mask, len(pictures))
        pairs = enumerate(zip(pictures, masks, strict=True))
        regions = [
            _black(processor, picture, given, f"the mask of picture {number}") for number, (picture, given) in pairs
        ]
    for number, (picture, region) in enumerate(zip(pictures, regions, strict=True)):
        inside = processor.content_box(picture.height, picture.width).of(region)
        if inside.all() or not inside.any():
            share, what = ("all", "draw anew") if inside.all() else ("nothing", "go by")
            raise InputError(f"{share} of picture {number} is kept, so there is nothing to {what}")
    return regions


def kept_cells(pixels: torch.Tensor, grids: Sequence[tuple[int, int]]) -> tuple[torch.Tensor, ...]:
    """Which codes are kept: those whose whole cell is.

    Args:
        pixels: BoolTensor (B, H, W), True where a pixel is kept.
        grids: rows and columns of every level; they divide H and W.

    Returns:
        One BoolTensor (B, rows, columns) per level.

    Example:
        >>> pixels = torch.ones(1, 4, 4).bool()
        >>> pixels[:, 3, 3] = False
        >>> kept_cells(pixels, [(1, 1), (2, 2)])[1]
        tensor([[[ True,  True],
                 [ True, False]]])
    """
    return tuple(pixels.unflatten(2, (columns, -1)).unflatten(1, (rows, -1)).all(4).all(2) for rows, columns in grids)


def count_leading(is_kept: torch.Tensor) -> torch.Tensor:
    """(B, n) bool -> (B,) int64, how many are True before the first that is not."""
    return is_kept.long().cumprod(1).sum(1)


def _top(processor: ImageTokenizerImageProcessorPil, picture: Image.Image, share: float) -> torch.Tensor:
    """(H, W) bool: all but the lower rows of the picture itself."""
    box = processor.content_box(picture.height, picture.width)
    height, width = (processor.size["height"], processor.size["width"]) if processor.do_resize else picture.size[::-1]
    region = torch.ones(height, width, dtype=torch.bool)
    box.of(region)[round(share * box.height) :] = False
    return region


def _black(processor: ImageTokenizerImageProcessorPil, picture: Image.Image, mask: Mask, name: str) -> torch.Tensor:
    """(H, W) bool: where a mask, processed like its picture, is black throughout."""
    is_white = _open_mask(mask, name)
    if is_white.shape != (picture.height, picture.width):
        height, width = is_white.shape
        raise InputError(
            f"{name} has {width}x{height} pixels, but the picture {picture.width}x{picture.height} (width x height)"
        )
    # Box: the mean over a pixel's area, so that any white shows; what pads the picture is kept.
    values = processor(
        Image.fromarray(np.where(is_white, np.uint8(255), np.uint8(0))),
        resample=Image.Resampling.BOX,
        background=_BLACK,  # pyright: ignore[reportCallIssue]
        num_channels=1,  # pyright: ignore[reportCallIssue]
        do_rescale=False,
        do_normalize=False,
        return_tensors="pt",
    )["pixel_values"]
    return values[0, 0] == 0


def _open_mask(mask: Mask, name: str) -> np.ndarray:
    """(h, w) bool, True where white."""
    if isinstance(mask, Image.Image | str | os.PathLike):
        return np.asarray(open_picture(mask, WHITE).convert("L")) >= _HALF_WHITE
    values = np.asarray(mask)
    if values.ndim != 2 or values.dtype not in (np.bool_, np.uint8):
        raise InputError(
            f"{name} must be a picture or a bool or uint8 array (height, width), got {values.dtype} {values.shape}"
        )
    return values if values.dtype == np.bool_ else values >= _HALF_WHITE


def _one_for_each(mask: Any, count: int) -> list[Mask]:
    is_array = isinstance(mask, np.ndarray | torch.Tensor)
    is_one = mask.ndim == 2 if is_array else isinstance(mask, Image.Image | str | os.PathLike)
    masks = [mask] * count if is_one else list(mask)
    if len(masks) != count:
        raise InputError(f"one mask for all pictures or one for each of {count} is expected, got {len(masks)}")
    return masks
