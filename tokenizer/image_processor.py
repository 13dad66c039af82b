"""Pictures -> the tensors the image tokenizer reads, and back.

Pixels are 8-bit RGB or grey on the outside and float32 in [-1, 1] on the inside: value / 127.5 - 1, channels first.
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
from .padding import Box, contained_box
from .rgb import WHITE, to_rgb

_MODES = {1: "L", 3: "RGB"}
"""PIL's mode by the number of channels."""


class ImageTokenizerImageProcessorKwargs(ImagesKwargs, total=False):  # pyright: ignore
    """The usual image settings and two more.

    Attributes:
        background: red, green and blue, 0 to 255, seen through transparent pixels and around padded pictures; white
            unless told.
        num_channels: 3 for colour, 1 for grey (ITU-R 601-2 luma of the colours, as PIL's mode "L").
    """

    background: list[int] | tuple[int, ...] | None
    num_channels: int | None


class ImageTokenizerImageProcessorPil(PilBackend):
    """Makes `pixel_values` of shape (B, C, H, W) in [-1, 1] from pictures of any mode; C is `num_channels`, 3 or 1.

    A picture that is not of `size` is resized until it just covers it and cropped at its centre; with
    `do_center_crop=False` it is stretched instead, and with `do_pad=True` it is kept whole: centred on `background` at
    its own size if it fits, else shrunk in proportion until it does (`content_box` tells where it lies). A picture that
    already has `size` is not resampled, nor is one that is only padded, so their values come through exactly.
    `do_resize=False` keeps native sizes; the pictures of one call must then be of one size, which the tokenizer's
    strides divide.
    """

    valid_kwargs = ImageTokenizerImageProcessorKwargs

    # Class attributes are how transformers declares defaults; every instance gets its own copies.
    size = {"height": 32, "width": 32}  # noqa: RUF012
    resample = PILImageResampling.BICUBIC
    background = WHITE
    do_convert_rgb = True
    do_resize = True
    do_center_crop = True
    do_pad = False
    num_channels = 3
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = (0.5, 0.5, 0.5)
    image_std = (0.5, 0.5, 0.5)

    def __init__(self, **kwargs: Unpack[ImageTokenizerImageProcessorKwargs]):
        if self._auto_class is None:  # not a copy of this code that transformers opened: the copy's place is no setting
            kwargs.pop("auto_map", None)
        if kwargs.get("num_channels") == 1:  # the defaults are for three channels
            kwargs |= {name: (0.5,) for name in ("image_mean", "image_std") if kwargs.get(name) is None}  # pyright: ignore
        super().__init__(**kwargs)

    @property
    def background_colour(self) -> tuple[int, int, int]:
        """Red, green and blue behind transparent pixels and around padded pictures, 0 to 255."""
        return _colour(self.background)

    def content_box(self, height: int, width: int) -> Box:
        """Where a picture of this native size, in pixels, lies in `pixel_values`: everywhere, unless it is padded."""
        if not self.do_resize:
            return Box(0, 0, height, width)
        size = self.size["height"], self.size["width"]
        return contained_box(height, width, *size) if self.do_pad else Box(0, 0, *size)

    def process_image(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, image: Any, background: Sequence[int] | None = None, num_channels: int | None = None, **kwargs: Any
    ) -> np.ndarray:
        """Makes one input 8-bit RGB or grey.

        Args:
            image: a PIL picture, or an 8-bit array or tensor (H, W), (H, W, C) or (C, H, W) with 1, 3 or 4 channels.
            background: the colour behind transparent pixels.
            num_channels: 3 for RGB or 1 for grey.
            kwargs: the other image settings; `input_data_format` settles arrays whose layout is ambiguous.

        Returns:
            uint8 array (num_channels, H, W).

        Raises:
            InputError: an array is not 8-bit; a [0, 1] or [-1, 1] float cannot be told from a dark picture. Or
                `num_channels` is neither 1 nor 3.
        """
        if not isinstance(image, Image.Image):
            image = self._array_to_pil(image, kwargs.get("input_data_format"))
        rgb = to_rgb(image, _colour(background or self.background))
        return _from_pil(rgb.convert(_mode(num_channels or self.num_channels)))

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
        do_pad: bool,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | list[float] | None,
        image_std: float | list[float] | None,
        return_tensors: str | None,
        background: Sequence[int],
        num_channels: int,
        **kwargs: Any,
    ) -> BatchFeature:
        if do_pad and not do_resize:
            raise InputError("do_pad=True pads to `size`, but do_resize=False keeps native sizes; choose one of them")
        if do_pad:
            colour = _background_pixel(background, num_channels)
            images = [_pad(image, _target(size), resample, colour) for image in images]
        elif do_resize:
            images = [_fit(image, _target(size), resample, do_center_crop) for image in images]
        shapes = sorted({image.shape[1:] for image in images})
        if return_tensors and len(shapes) > 1:
            raise InputError(
                f"pictures of different sizes cannot form one batch, got (height, width) {shapes}; "
                "use do_resize=True or one picture at a time"
            )
        if do_rescale:
            images = [self.rescale(image, rescale_factor) for image in images]
        if do_normalize:
            _check_statistics(num_channels, image_mean=image_mean, image_std=image_std)
            images = [self.normalize(image, image_mean or 0.0, image_std or 1.0) for image in images]
        return BatchFeature(data={"pixel_values": images}, tensor_type=return_tensors)

    def _validate_preprocess_kwargs(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, **kwargs: Any
    ) -> None:
        # Crop and padding are always to `size`; the base class wants sizes of their own to be set.
        super()._validate_preprocess_kwargs(**{**kwargs, "crop_size": kwargs["size"], "pad_size": kwargs["size"]})


def to_8bit(pixel_values: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> whole numbers 0..255, float32: clamped and rounded half up."""
    return torch.floor(pixel_values.detach().float() * 127.5 + 128.0).clamp(0, 255)  # 127.5 + 0.5: half rounds up


def to_images(pixel_values: torch.Tensor) -> list[Image.Image]:
    """The way back: values in [-1, 1] as 8-bit pictures, clamped and rounded half up.

    Args:
        pixel_values: float (B, C, H, W), C = 3 for RGB or 1 for grey.

    Returns:
        B pictures of W x H pixels in mode "RGB" or "L".
    """
    if pixel_values.ndim != 4 or pixel_values.shape[1] not in _MODES:
        raise InputError(
            f"expected pixel_values of shape (B, 3, H, W) or (B, 1, H, W), got {tuple(pixel_values.shape)}"
        )
    return [_to_pil(array) for array in to_8bit(pixel_values).to(torch.uint8).cpu().numpy()]


def _mode(num_channels: int) -> str:
    if num_channels not in _MODES:
        raise InputError(f"num_channels must be 3 (colour) or 1 (grey), got {num_channels}")
    return _MODES[num_channels]


def _to_pil(image: np.ndarray) -> Image.Image:
    """uint8 (C, h, w) -> a picture in mode "RGB" or "L"."""
    return Image.fromarray(image[0] if len(image) == 1 else np.moveaxis(image, 0, -1))


def _from_pil(picture: Image.Image) -> np.ndarray:
    """A picture in mode "RGB" or "L" -> uint8 (C, h, w)."""
    values = np.array(picture)
    return values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)


def _target(size: SizeDict) -> tuple[int, int]:
    """Height and width, pixels."""
    if not (size.height and size.width):
        raise InputError(f'size must be {{"height": pixels, "width": pixels}}, got {dict(size)}')
    return size.height, size.width


def _fit(image: np.ndarray, target: tuple[int, int], resample: int | None, do_center_crop: bool) -> np.ndarray:
    """uint8 (C, h, w) -> uint8 (C, H, W): cropped to the target's proportions and resized at once, or stretched."""
    height, width = image.shape[1:]
    if (height, width) == target:
        return image
    box = _covering_box(height, width, *target) if do_center_crop else None
    return _from_pil(_to_pil(image).resize((target[1], target[0]), resample, box=box))


def _pad(image: np.ndarray, target: tuple[int, int], resample: int | None, colour: np.ndarray) -> np.ndarray:
    """uint8 (C, h, w) -> uint8 (C, H, W): whole, at its own size if it fits, on a ground of `colour` (C,)."""
    height, width = image.shape[1:]
    box = contained_box(height, width, *target)
    if (height, width) != (box.height, box.width):
        image = _from_pil(_to_pil(image).resize((box.width, box.height), resample))
    padded = np.tile(colour[:, None, None], (1, *target))
    box.of(padded)[...] = image
    return padded


def _background_pixel(background: Sequence[int], num_channels: int) -> np.ndarray:
    """uint8 (C,): the background's colour, or its grey."""
    return _from_pil(Image.new("RGB", (1, 1), _colour(background)).convert(_mode(num_channels)))[:, 0, 0]


def _check_statistics(num_channels: int, **statistics: float | Sequence[float] | None) -> None:
    for name, value in statistics.items():
        if isinstance(value, Sequence) and len(value) != num_channels:
            raise InputError(f"{name} must have one value per channel, {num_channels}, got {list(value)}")


def _colour(value: Sequence[int]) -> tuple[int, int, int]:
    if len(value) != 3 or not all(0 <= channel <= 255 for channel in value):
        raise InputError(f"background must be red, green and blue, each 0 to 255, got {value}")
    red, green, blue = value
    return red, green, blue


def _covering_box(height: int, width: int, target_height: int, target_width: int) -> tuple[float, float, float, float]:
    """The largest centred part of a picture that has the target's proportions: left, upper, right, lower, in pixels."""
    scale = min(height / target_height, width / target_width)
    box_height, box_width = target_height * scale, target_width * scale
    # Rounding may make the part a trifle larger than the picture.
    left, upper = max(0.0, (width - box_width) / 2), max(0.0, (height - box_height) / 2)
    return left, upper, min(left + box_width, width), min(upper + box_height, height)
