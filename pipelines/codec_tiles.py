"""Pictures of any size as squares of the size that the model knows, and back."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ..tokenizer.padding import Box, contained_box


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut into squares.

    A picture that is no larger than a square lies in its middle on the processor's background, if that is how the
    model's pictures are padded. Any other is continued at the right and at the bottom with its last pixels.

    Attributes:
        height: of the picture, pixels.
        width: of the picture, pixels.
        side: of a square, pixels.
        is_centred: see above.
    """

    height: int
    width: int
    side: int
    is_centred: bool

    @classmethod
    def of(cls, height: int, width: int, side: int, do_pad: bool) -> Tiling:
        """The tiling of pictures of a size; `do_pad` as in the image processor."""
        return cls(height, width, side, do_pad and max(height, width) <= side)

    @property
    def rows(self) -> int:
        """Squares above each other."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """Squares beside each other."""
        return -(-self.width // self.side)

    @property
    def count(self) -> int:
        """Squares of a picture."""
        return self.rows * self.columns

    @property
    def pixels(self) -> int:
        """Of all squares of a picture, what it has too much included."""
        return self.count * self.side**2

    @property
    def box(self) -> Box:
        """Where the picture lies in its squares."""
        if self.is_centred:
            return contained_box(self.height, self.width, self.side, self.side)
        return Box(0, 0, self.height, self.width)

    def cut(self, pixels: torch.Tensor, background: torch.Tensor) -> torch.Tensor:
        """Pictures -> squares, row by row.

        Args:
            pixels: (B, C, H, W) of this size.
            background: (C,) of the pixels around a centred picture.

        Returns:
            (B * count, C, side, side).
        """
        side, box = self.side, self.box
        if self.is_centred:
            whole = background[None, :, None, None].repeat(len(pixels), 1, side, side)
            box.of(whole).copy_(pixels)
        else:
            margins = (0, self.columns * side - self.width, 0, self.rows * side - self.height)
            whole = F.pad(pixels, margins, mode="replicate")
        cells = whole.unfold(2, side, side).unfold(3, side, side)  # (B, C, rows, columns, side, side)
        return cells.permute(0, 2, 3, 1, 4, 5).reshape(-1, pixels.shape[1], side, side)

    def join(self, squares: torch.Tensor) -> torch.Tensor:
        """The inverse of `cut`: (B * count, C, side, side) -> (B, C, H, W)."""
        cells = squares.unflatten(0, (-1, self.rows, self.columns)).permute(0, 3, 1, 4, 2, 5)
        whole = cells.flatten(4).flatten(2, 3)  # (B, C, rows * side, columns * side)
        return self.box.of(whole)
