"""What a codec does before and behind its streams: pictures to the codes of their squares, and codes to pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import numpy as np
import torch
from PIL import Image

from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..lm.order import flatten, unflatten
from ..tokenizer.image_processor import to_8bit
from .codec_format import MAX_PIXELS, MAX_SIDE, PictureShape
from .codec_tiles import Tiling
from .picture_input import Picture, open_picture, picture_mode
from .text_to_image import TextToImagePipeline

_SQUARES_AT_ONCE = 64
"""That the image tokenizer encodes or decodes in one pass."""

Chooser = Callable[[torch.Tensor], torch.Tensor]
"""(B, C, side, side) squares -> (B, M) codes in document order."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures of one shape.

    Attributes:
        shape: theirs.
        images: in RGB, of that size.
    """

    shape: PictureShape
    images: list[Image.Image]


class CodecSquares:
    """Pictures of any size as squares of the size that an image tokenizer was trained for.

    Args:
        bundle: the image tokenizer, its processor, and the prior that draws what is left out.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.side = bundle.image_tokenizer.config.image_size
        self.grids = bundle.image_tokenizer.config.grids(self.side, self.side)

    def num_codes(self, num_levels: int) -> int:
        """Of a square, in its first levels; 0 means all."""
        return sum(rows * columns for rows, columns in self.grids[: num_levels or len(self.grids)])

    def groups(self, pictures: Sequence[Picture], num_levels: int, group_size: int) -> Iterator[Pictures]:
        """Opens pictures: neighbours of one shape, as many as may share a stream.

        Args:
            pictures: PIL pictures or paths.
            num_levels: levels that are kept; 0 for all.
            group_size: most pictures together.

        Raises:
            InputError: an unreadable picture, one too large, or colours for a grey model.
        """
        for shape, alike in groupby(map(self._open, pictures), key=lambda opened: opened.shape):
            most = max(1, min(group_size, MAX_PIXELS // self.tiling(shape).pixels))
            images = (opened.images[0] for opened in alike)
            while part := list(islice(images, most)):
                yield Pictures(replace(shape, num_levels=num_levels), part)

    def squares(self, pictures: Pictures) -> Iterator[torch.Tensor]:
        """(n, C, side, side) squares in [-1, 1] of pictures of one shape, row by row, some at a time."""
        tiling = self.tiling(pictures.shape)
        together = max(1, _SQUARES_AT_ONCE // tiling.count)
        blank = Image.new("RGB", (1, 1), self.bundle.image_processor.background_colour)
        background = self._pixels([blank])[0, :, 0, 0]
        for first in range(0, len(pictures.images), together):
            pixels = self._pixels(pictures.images[first : first + together])
            yield from tiling.cut(pixels, background).split(_SQUARES_AT_ONCE)

    def some(self, pictures: Sequence[Picture], most: int) -> torch.Tensor:
        """(n, C, side, side) squares in [-1, 1], at most so many, from all over the pictures."""
        chosen = spread(len(pictures), most)
        each = -(-most // len(chosen))
        found: list[torch.Tensor] = []
        for group in self.groups([pictures[index] for index in chosen], 0, 1):  # one picture in memory at a time
            wanted = {*spread(self.tiling(group.shape).count, each)}
            squares = (square for part in self.squares(group) for square in part)
            found += [square.clone() for number, square in enumerate(squares) if number in wanted]
        return torch.stack([found[index] for index in spread(len(found), most)])

    def codes(self, pictures: Pictures, choose: Chooser | None = None) -> torch.Tensor:
        """(squares, M) codes of the levels that are kept, in document order; by default the nearest ones."""
        count = self.num_codes(pictures.shape.num_levels)
        chosen = [(choose or self._nearest)(part)[:, :count].cpu() for part in self.squares(pictures)]
        return torch.cat(chosen)

    def images(self, shape: PictureShape, codes: torch.Tensor, drawn: bool, seed: int) -> list[Image.Image]:
        """The pictures of codes.

        Args:
            shape: theirs.
            codes: (squares, M) in document order, of the levels that the shape names.
            drawn: levels that are not there are drawn, not left out.
            seed: of the first square's drawing; later ones count up.
        """
        tiling = self.tiling(shape)
        parts = self._pixels_of(codes, shape.num_levels, drawn, seed).split(tiling.count)
        return [_image(tiling.join(part)[0]).convert("L" if shape.is_grey else "RGB") for part in parts]

    def tiling(self, shape: PictureShape) -> Tiling:
        """How pictures of a shape are cut."""
        return Tiling.of(shape.height, shape.width, self.side, bool(self.bundle.image_processor.do_pad))

    def _open(self, picture: Picture) -> Pictures:
        processor = self.bundle.image_processor
        image = open_picture(picture, processor.background_colour)
        is_grey = picture_mode(picture) == "L"
        if processor.num_channels == 1 and not is_grey and not _has_no_colours(image):
            raise InputError(f"{picture} has colours, but the model knows grey pictures only; convert it to mode L")
        shape = PictureShape(image.height, image.width, is_grey)
        if self.tiling(shape).pixels > MAX_PIXELS or max(image.size) > MAX_SIDE:
            raise InputError(
                f"{picture} has {image.width}x{image.height} pixels; up to {MAX_PIXELS} are compressed, in squares of "
                f"{self.side}, and sides of up to {MAX_SIDE}"
            )
        return Pictures(shape, [image])

    def _pixels(self, images: list[Image.Image]) -> torch.Tensor:
        """(B, C, H, W) of pictures of one size, which they keep."""
        return self.bundle.image_processor(images, do_resize=False, do_pad=False, return_tensors="pt")["pixel_values"]

    def _nearest(self, squares: torch.Tensor) -> torch.Tensor:
        model = self.bundle.image_tokenizer
        return flatten(model.encode(squares.to(model.device)), self.bundle.vocabulary.order)

    def _pixels_of(self, codes: torch.Tensor, num_levels: int, drawn: bool, seed: int) -> torch.Tensor:
        """(B, M) codes -> (B, C, side, side) uint8, a quarter of what the decoder's floats take."""
        model, kept = self.bundle.image_tokenizer, num_levels or len(self.grids)
        levels = unflatten(codes, self.grids[:kept], self.bundle.vocabulary.order)
        if drawn and num_levels:
            pipeline = TextToImagePipeline(self.bundle)
            levels = pipeline([""] * len(codes), coarse_codes=levels, seed=seed).codes
            kept = len(self.grids)
        parts = zip(*(level.split(_SQUARES_AT_ONCE) for level in levels), strict=True)
        with torch.no_grad():
            decoded = (model.decode([level.to(model.device) for level in part], kept) for part in parts)
            return torch.cat([to_8bit(pixels).to(torch.uint8).cpu() for pixels in decoded])


def spread(count: int, most: int) -> list[int]:
    """At most so many of 0..count-1, equally far apart."""
    return [index * count // min(count, most) for index in range(min(count, most))]


def _image(pixels: torch.Tensor) -> Image.Image:
    """(C, H, W) uint8 -> a picture in mode "RGB", or "L" of one channel."""
    return Image.fromarray(pixels[0].numpy() if len(pixels) == 1 else pixels.movedim(0, -1).numpy())


def _has_no_colours(image: Image.Image) -> bool:
    values = np.asarray(image)
    return bool((values == values[..., :1]).all())
