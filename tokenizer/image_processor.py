"""Pictures -> the tensors the image tokenizer reads, and back.

Pixels are 8-bit RGB on the outside and float32 in [-1, 1] on the inside: value / 127.5 - 1, channels first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_base import BatchFeature
from transformers.image_utils import PILImageResampling, SizeDict
from transformers.processing_utils import ImagesKwargs
from typing_extensions import Unpack

from ..hub.errors import InputError
from .rgb import WHITE, to_rgb


class ImageTokenizerImageProcessorKwargs(ImagesKwargs, total=False):  # pyright: ignore
    """The usual image settings and one more.

    Attributes:
        background: red, green and blue, 0 to 255, seen through transparent pixels; white unless told.
    """

    background: list[int] | tuple[int, ...] | None


class ImageTokenizerImageProcessorPil(PilBackend):
    """Makes `pixel_values` of shape (B, 3, H, W) in [-1, 1] from pictures of any mode.

    A picture that is not of `size` is resized until it just covers it and cropped at its centre; with
    `do_center_crop=False` it is stretched instead. A picture that already has `size` is not resampled, so its values
    come through exactly. `do_resize=False` keeps native sizes; the pictures of one call must then be of one size, which
    the tokenizer's strides divide.
    """

    valid_kwargs = ImageTokenizerImageProcessorKwargs

    # Class attributes are how transformers declares defaults; every instance gets its own copies.
    size = {"height": 32, "width": 32}  # noqa: RUF012
    resample = PILImageResampling.BICUBIC
    background = WHITE
    do_convert_rgb = True
    do_resize = True
    do_center_crop = True
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = (0.5, 0.5, 0.5)
    image_std = (0.5, 0.5, 0.5)

    def __init__(self, **kwargs: Unpack[ImageTokenizerImageProcessorKwargs]):
        super().__init__(**kwargs)

    @property
    def background_colour(self) -> tuple[int, int, int]:
        """Red, green and blue behind transparent pixels, 0 to 255."""
        return _colour(self.background)

    def process_image(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Any, background: Sequence[int] | None = None, **kwargs: Any
    ) -> np.ndarray:
        """Makes one input 8-bit RGB.

        Args:
            image: a PIL picture, or an 8-bit array or tensor (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels.
            background: the colour behind transparent pixels.
            kwargs: the other image settings; `input_data_format` settles arrays whose layout is ambiguous.

        Returns:
            uint8 array (3, H, W).

        Raises:
            InputError: an array is not 8-bit; a [0, 1] or [-1, 1] float cannot be told from a dark picture.
        """
        if not isinstance(image, Image.Image):
            image = self._array_to_pil(image, kwargs.get("input_data_format"))
        return np.moveaxis(np.array(to_rgb(image, _colour(background or self.background))), -1, 0)

    def _array_to_pil(self, image: Any, input_data_format: Any) -> Image.Image:
        if str(image.dtype).removeprefix("torch.") != "uint8":
            raise InputError(f"pictures given as arrays must be 8-bit (uint8, 0 to 255), got {image.dtype}")
        array = super().process_image(image, do_convert_rgb=False, input_data_format=input_data_format)  # (C, H, W)
        return Image.fromarray(np.moveaxis(array, 0, -1) if array.shape[0] > 1 else array[0])

    def _preprocess(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        images: list[np.ndarray],
        do_resize: bool,
        size: SizeDict,
        resample: PILImageResampling | None,
        do_center_crop: bool,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | list[float] | None,
        image_std: float | list[float] | None,
        return_tensors: str | None,
        **kwargs: Any,
    ) -> BatchFeature:
        if do_resize:
            images = [_fit(image, size, resample, do_center_crop) for image in images]
        shapes = sorted({image.shape[1:] for image in images})
        if return_tensors and len(shapes) > 1:
            raise InputError(
                f"pictures of different sizes cannot form one batch, got (height, width) {shapes}; "
                "use do_resize=True or one picture at a time"
            )
        if do_rescale:
            images = [self.rescale(image, rescale_factor) for image in images]
        if do_normalize:
            images = [self.normalize(image, image_mean or 0.0, image_std or 1.0) for image in images]
        return BatchFeature(data={"pixel_values": images}, tensor_type=return_tensors)

    def _validate_preprocess_kwargs(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, **kwargs: Any
    ) -> None:
        # The crop is always to `size`; the base class wants a crop_size of its own to be set.
        super()._validate_preprocess_kwargs(**{**kwargs, "crop_size": kwargs["size"]})


def to_images(pixel_values: torch.Tensor) -> list[Image.Image]:
    """The way back: values in [-1, 1] as 8-bit RGB pictures, clamped and rounded half up.

    Args:
        pixel_values: float (B, 3, H, W).

    Returns:
        B pictures of W x H pixels.
    """
    if pixel_values.ndim != 4 or pixel_values.shape[1] != 3:
        raise InputError(f"expected pixel_values of shape (B, 3, H, W), got {tuple(pixel_values.shape)}")
    values = torch.floor(pixel_values.detach().float() * 127.5 + 128.0).clamp(0, 255)  # 127.5 + 0.5: half rounds up
    arrays = values.to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()  # (B, H, W, 3)
    return [Image.fromarray(array) for array in arrays]


def _fit(image: np.ndarray, size: SizeDict, resample: int | None, do_center_crop: bool) -> np.ndarray:
    """uint8 (3, h, w) -> uint8 (3, H, W): cropped to the target's proportions and resized at once, or stretched."""
    if not (size.height and size.width):
        raise InputError(f'size must be {{"height": pixels, "width": pixels}}, got {dict(size)}')
    height, width = image.shape[1:]
    if (height, width) == (size.height, size.width):
        return image
    box = _covering_box(height, width, size.height, size.width) if do_center_crop else None
    picture = Image.fromarray(np.moveaxis(image, 0, -1))
    return np.moveaxis(np.array(picture.resize((size.width, size.height), resample, box=box)), -1, 0)


def _colour(value: Sequence[int]) -> tuple[int, int, int]:
    if len(value) != 3 or not all(0 <= channel <= 255 for channel in value):
        raise InputError(f"background must be red, green and blue, each 0 to 255, got {value}")
    red, green, blue = value
    return red, green, blue


def _covering_box(height: int, width: int, target_height: int, target_width: int) -> tuple[float, float, float, float]:
    """The largest centred part of a picture that has the target's proportions: left, upper, right, lower, in pixels."""
    scale = min(height / target_height, width / target_width)
    box_height, box_width = target_height * scale, target_width * scale
    left, upper = (width - box_width) / 2, (height - box_height) / 2
    return left, upper, min(left + box_width, width), min(upper + box_height, height)
