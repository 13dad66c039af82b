"""What an adapter asks of another project's VQ model: its shapes, codes, pictures, and the tensors behind them."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from ..hub.errors import InputError
from .interface import ImageCodes

Settings = TypeVar("Settings")

_LAYOUTS = {
    "chameleon": "ChameleonLayout",
    "emu3": "Emu3Layout",
    "janus": "JanusLayout",
    "llamagen": "LlamaGenLayout",
    "patches": "PatchesLayout",
    "vqvae2": "VQVAE2Layout",
}
LAYOUTS = tuple(_LAYOUTS)
"""Names of the layouts; each lives in its own module `layout_<name>`, imported on first use."""

FOREIGN_LAYOUTS = tuple(name for name in LAYOUTS if name != "patches")
"""Those of other projects' checkpoints; the others are made here."""


@dataclasses.dataclass(frozen=True)
class LayoutShape:
    """Shapes of an adapted tokenizer.

    Attributes:
        strides: pixels per code along each side, one entry a level, coarse to fine.
        codebook_sizes: number of codes K of each level.
        num_channels: colour channels of `pixel_values`.
    """

    strides: list[int]
    codebook_sizes: list[int]
    num_channels: int = 3


class TokenizerLayout(nn.Module):
    """Interface: another project's network under its own tensor names, with codes and pictures in our shapes.

    A layout is built from its settings alone. `AdaptedTokenizer` checks what goes in, so a layout need not.

    Attributes:
        codes_names: names of the tensors that decide codes; one that ends in a dot stands for all of a submodule's.
        picture_names: names of the tensors that decide pictures; the codebook alone for a model without a decoder.
        anchor: name of a tensor that every checkpoint of the layout has, by which its others are found.
        wrapped_at: name, with a dot, of the submodule that holds a checkpoint's tensors; empty for the layout itself.
        training_only: names of tensors of a checkpoint that only its training needs and that the layout leaves out.
        image_size: side of the pictures that checkpoints are usually made for, pixels.
        pixel_mean: of the pixels that the network was trained on, as a part of the range 0..1.
        pixel_std: their scale, likewise: the network reads (value - mean) / std of values in 0..1.
    """

    codes_names: tuple[str, ...]
    picture_names: tuple[str, ...]
    anchor: str = "quantize.embedding.weight"
    wrapped_at: str = ""
    training_only: tuple[str, ...] = ()
    image_size: int = 256
    pixel_mean: tuple[float, ...] = (0.5,)
    pixel_std: tuple[float, ...] = (0.5,)

    @classmethod
    def complete(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings with the defaults filled in, as JSON.

        Raises:
            InputError: a name that the layout does not know, or a value that it cannot take.
        """
        raise NotImplementedError

    @classmethod
    def shape(cls, settings: dict[str, Any]) -> LayoutShape:
        """Levels and channels of a model with these settings."""
        raise NotImplementedError

    @classmethod
    def infer(cls, weights: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """The settings that a state dict's shapes tell; None for a layout whose settings come with its checkpoint.

        Raises:
            InputError: a tensor that tells them is missing.
        """
        return None

    @classmethod
    def image_size_of(cls, config: Mapping[str, Any]) -> int:
        """Side of the pictures a checkpoint is made for, pixels, by its own project's configuration of the network.

        Raises:
            InputError: what tells it is no size.
        """
        return cls.image_size

    def encode(self, pixel_values: torch.Tensor) -> ImageCodes:
        """(B, C, H, W) as the network was trained on them -> one int64 (B, h_l, w_l) per level, coarse to fine."""
        raise NotImplementedError

    def decode(self, codes: Sequence[torch.Tensor], num_levels: int) -> torch.Tensor:
        """One int64 (B, h_l, w_l) for every level, of which the first `num_levels` count -> (B, C, H, W), unclamped.

        Raises:
            InputError: the model has no decoder.
        """
        raise NotImplementedError

    def vectors(self, level: int) -> torch.Tensor:
        """(K_l, D_l): the vectors that the codes of a level stand for."""
        raise NotImplementedError


def layout_class(name: str) -> type[TokenizerLayout]:
    """The layout of that name.

    Raises:
        InputError: unknown name.
    """
    if name not in _LAYOUTS:
        raise InputError(f"layout must be one of {', '.join(_LAYOUTS)}, got {name!r}")
    return getattr(importlib.import_module(f".layout_{name}", __package__), _LAYOUTS[name])


def read_settings(kind: type[Settings], settings: Mapping[str, Any]) -> Settings:
    """A dataclass of integers, booleans, strings and tuples of integers from its values as JSON.

    Raises:
        InputError: an unknown name, a value of another type than the field's default, or an integer below 1.
    """
    defaults = {field.name: field.default for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    for name, value in settings.items():
        if name not in defaults:
            raise InputError(f"a setting must be one of {', '.join(defaults)}, got {name!r}")
        if not _is_like(value, defaults[name]):
            raise InputError(f"setting {name} must be like {json.dumps(defaults[name])}, got {value!r}")
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()})


def as_json(settings: Any) -> dict[str, Any]:
    """A dataclass of settings as it comes back from a JSON file: with lists for its tuples."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def size_in(config: Mapping[str, Any], name: str, default: int) -> int:
    """A size out of another project's configuration; `default` where it says none.

    Raises:
        InputError: it is no positive integer.
    """
    value = config.get(name)
    if value is None:
        return default
    if type(value) is not int or value < 1:
        raise InputError(f"setting {name} must be a positive integer, got {value!r}")
    return value


def encode_one_level(model: Any, pixel_values: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, H/f, W/f) codes of a VQ model of transformers, whose own `encode` returns them flat."""
    stride = 2 ** (model.encoder.num_resolutions - 1)
    batch_size, _, height, width = pixel_values.shape
    return model.encode(pixel_values).image_tokens.view(batch_size, height // stride, width // stride)


def check_multipliers(name: str, multipliers: Sequence[int]) -> None:
    """Checks the channel multipliers of a chain of grids: one or more, each at least 1."""
    if not multipliers or min(multipliers) < 1:
        raise InputError(f"setting {name} must be positive integers, one a grid, got {list(multipliers)}")


def _is_like(value: Any, default: Any) -> bool:
    if isinstance(default, bool | str):
        return isinstance(value, type(default))
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(type(item) is int and item >= 0 for item in value)
    return type(value) is int and value >= 1
