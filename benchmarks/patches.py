"""Pictures as tensors of 8-bit values, cut into patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from pictogram import InputError
from pictogram.tokenizer.images import ImageSource, load_image_source


@dataclass(frozen=True)
class Pictures:
    """What the baselines learn from and what they are measured on.

    Attributes:
        train: (N, H, W, C) uint8; C is 1 if every picture is grey, else 3.
        test: (M, H, W, C) uint8.
    """

    train: torch.Tensor
    test: torch.Tensor


def load_pictures(source: str, max_train: int, max_test: int) -> Pictures:
    """Reads the first pictures of the splits "train" and "test" of a source; see `load_image_source`.

    Raises:
        InputError: a picture cannot be read, or the pictures are not all of one size.
    """
    train = _stack(load_image_source(source, "train"), max_train)
    test = _stack(load_image_source(source, "test"), max_test)
    if train.shape[1:] != test.shape[1:]:
        raise InputError(f"expected one size, got {[*train.shape[1:]]} in train and {[*test.shape[1:]]} in test")
    if all(bool((pictures == pictures[..., :1]).all()) for pictures in (train, test)):
        train, test = train[..., :1].contiguous(), test[..., :1].contiguous()
    return Pictures(train, test)


def to_patches(pictures: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """(N, H, W, C) -> (N, patches in raster order, rows * columns * C) float32.

    Raises:
        InputError: patches of `rows` x `columns` pixels do not tile the pictures.
    """
    count, height, width, channels = pictures.shape
    if height % rows or width % columns:
        raise InputError(f"patches of {rows}x{columns} do not tile pictures of {height}x{width}")
    grid = pictures.view(count, height // rows, rows, width // columns, columns, channels)
    return grid.permute(0, 1, 3, 2, 4, 5).reshape(count, -1, rows * columns * channels).float()


def squared_error(pictures: torch.Tensor, decoded: torch.Tensor) -> float:
    """Sum of the squared errors of 8-bit values.

    Args:
        pictures: values 0..255, any shape; pictures or patches of them.
        decoded: the same shape; rounded and clipped here, as they would be to save them.
    """
    error = decoded.round().clamp(0, 255) - pictures.float()
    return float(error.square().sum(dtype=torch.float64))


def _stack(source: ImageSource, most: int) -> torch.Tensor:
    pictures = [np.asarray(source.read(index)) for index in range(min(len(source), most))]
    shapes = {picture.shape for picture in pictures}
    if len(shapes) != 1:
        raise InputError(f"expected pictures of one size, got {sorted(shapes)[:4]} in {source.name}")
    return torch.from_numpy(np.stack(pictures))
