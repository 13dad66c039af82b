"""8-bit pixels -> the floats that the image processor would make of them, by a table."""

from __future__ import annotations

import torch
from PIL import Image

from .image_processor import ImageTokenizerImageProcessorPil


class PixelTable:
    """What an image processor's rescaling and normalising make of each of the 256 values of every channel.

    Pixel values are a function of 8-bit ones, so pictures can wait as bytes, a quarter of the memory, and become the
    processor's very floats when a batch is made of them.
    """

    def __init__(self, processor: ImageTokenizerImageProcessorPil):
        ramp = Image.frombytes("L", (256, 1), bytes(range(256)))
        pixel_values = processor(ramp, do_resize=False, do_pad=False, return_tensors="pt")["pixel_values"]
        self._values = pixel_values[0, :, 0].float()  # (C, 256)

    def floats(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 (..., C, H, W) -> float32 of the same shape."""
        channels = [self._values[channel][level.int()] for channel, level in enumerate(pixels.unbind(-3))]
        return torch.stack(channels, -3)
