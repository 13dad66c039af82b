"""Pictures as tensors for training and evaluation, read once and kept as bytes while memory allows."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import torch
from torch.utils.data import Dataset as TorchDataset

from ..hub.errors import InputError
from ..hub.fingerprint import fingerprint
from .image_processor import ImageTokenizerImageProcessorPil
from .images import Failure, ImageSource, Progress, find_unreadable, load_image_source
from .padding import Box
from .pixel_table import PixelTable

_CACHE_BYTES = 512 * 1024**2


def load_pixels(
    source: str, split: str | None, processor: ImageTokenizerImageProcessorPil, progress: Progress | None = None
) -> tuple[PixelDataset, list[Failure]]:
    """Opens a source for training: the pictures that can be read, and the list of those that cannot.

    Raises:
        InputError: the source is missing, or not one picture can be read.
    """
    opened = load_image_source(source, split)
    failures = find_unreadable(opened, progress)
    return PixelDataset(opened.without(failures), processor), failures


class PixelDataset(TorchDataset):
    """The pictures of a source as tensors in [-1, 1].

    Decoded pictures are kept in memory as 8-bit values while they fit in 512 MiB. Nothing is lost: pixel values are a
    function of the 256 values of each channel.

    Args:
        source: readable rows only, see `find_unreadable` and `ImageSource.without`.
        processor: makes the tensors.
    """

    def __init__(self, source: ImageSource, processor: ImageTokenizerImageProcessorPil):
        self.source = source
        self.processor = processor
        self._table = PixelTable(processor)
        self._cache: dict[int, torch.Tensor] = {}
        self._boxes: dict[int, Box] = {}
        self._free_bytes = _CACHE_BYTES

    def __len__(self) -> int:
        return len(self.source)

    @cached_property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that two runs over the same pictures have in common, and others hardly.

        Computed once, from files as they were then.
        """
        return fingerprint({}, self.source.identity())[:16]

    def __getitem__(self, index: int) -> torch.Tensor:
        return self._table.floats(self._read_8_bits(index))

    def pixels(self, indices: Iterable[int]) -> torch.Tensor:
        """The pictures of these rows as one float tensor (B, C, H, W)."""
        pictures = [self._read_8_bits(int(index)) for index in indices]
        sizes = sorted({tuple(picture.shape[1:]) for picture in pictures})
        if len(sizes) != 1:
            raise InputError(f"one batch needs pictures of one size, got (height, width) {sizes}; use do_resize=True")
        return self._table.floats(torch.stack(pictures))

    def content_box(self, index: int) -> Box:
        """Where the row's picture lies in its tensor: everywhere, unless the processor pads.

        A picture that has not been read yet is read for its size.
        """
        if index not in self._boxes:
            self._read_8_bits(index)
        return self._boxes[index]

    def _read_8_bits(self, index: int) -> torch.Tensor:
        """uint8 (C, H, W)."""
        if index in self._cache:
            return self._cache[index]
        image = self.source.read(index, self.processor.background_colour)
        self._boxes[index] = self.processor.content_box(image.height, image.width)
        picture = self.processor(image, do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"][0]
        if picture.numel() <= self._free_bytes:
            self._free_bytes -= picture.numel()
            self._cache[index] = picture
        return picture
