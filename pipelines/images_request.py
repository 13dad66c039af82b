"""What a client asks of the image server: the JSON of a request for pictures, checked."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..lm.image_sampler import ImageSampling

_BYTES_PER_CHARACTER = 12
"""Of JSON, at most: a pair of escaped surrogates."""

_RANDOM_SEEDS = 2**53
"""Integers below this come through any JSON parser."""


@dataclass(frozen=True)
class RequestLimits:
    """How much one request may ask for.

    Attributes:
        max_images: pictures.
        max_prompt: characters of the prompt.
    """

    max_images: int
    max_prompt: int

    @property
    def max_body(self) -> int:
        """Bytes of the largest body that is read."""
        return _BYTES_PER_CHARACTER * self.max_prompt + 4096


@dataclass(frozen=True)
class ImagesRequest:
    """Pictures of one prompt.

    Attributes:
        prompt: words; empty ones ask for any picture.
        num_images: pictures.
        seed: of the first one, the others count up from it.
        size: name of a size of the bundle; None for its first one.
        symbol: whole-image code of all pictures, or None.
        sampling: how codes are drawn.
    """

    prompt: str
    num_images: int
    seed: int
    size: str | None
    symbol: int | None
    sampling: ImageSampling

    @property
    def settings(self) -> tuple[str | None, int | None, ImageSampling]:
        """Requests for which this is equal can be drawn together."""
        return self.size, self.symbol, self.sampling


def read_images_request(body: bytes, bundle: Bundle, limits: RequestLimits, model: str) -> ImagesRequest:
    """Reads the body of POST /v1/images/generations. Its names and types are checked here, its values as limits tell.

    Args:
        body: JSON as bytes.
        bundle: knows the sizes.
        limits: what is too much.
        model: the one name that the body may give to the model.

    Raises:
        InputError: no JSON object, an unknown or missing field, a value of a wrong type, or too much of something.
    """
    fields = _read_fields(body)
    if fields.get("model") not in (None, model):
        raise InputError(f"model {_spell(fields['model'])} is not here; this server has {_spell(model)}")
    if fields.get("response_format") not in (None, "b64_json"):
        raise InputError(f"response_format must be b64_json, got {_spell(fields['response_format'])}")
    prompt, num_images = fields["prompt"], fields.get("n", 1)
    if len(prompt) > limits.max_prompt:
        raise InputError(f"prompt has {len(prompt)} characters, at most {limits.max_prompt} are allowed")
    if not 1 <= num_images <= limits.max_images:
        raise InputError(f"n must be 1 to {limits.max_images}, got {num_images}")
    size = fields.get("size")
    sampling = ImageSampling(**{name: _hashable(fields[name]) for name in _SAMPLING if name in fields})
    return ImagesRequest(
        prompt,
        num_images,
        fields.get("seed", secrets.randbelow(_RANDOM_SEEDS)),
        None if size is None else _size_name(size, bundle),
        fields.get("symbol"),
        sampling.of_model(bundle.image_generation_config),
    )


def _read_fields(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object that are not null, each of its type."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InputError(f"the body must be JSON: {str(error) or 'it cannot be read'}") from None
    if not isinstance(content, dict):
        raise InputError(f"the body must be a JSON object, got {type(content).__name__}")
    for name, value in content.items():
        if name not in _FIELDS:
            raise InputError(f"unknown field {_spell(name)}; known fields: {', '.join(_FIELDS)}")
        words, fits = _FIELDS[name]
        if value is not None and not fits(value):
            raise InputError(f"{name} must be {words}, got {_spell(value)}")
    fields = {name: value for name, value in content.items() if value is not None}
    if "prompt" not in fields:
        raise InputError("the field prompt is missing; an empty string asks for any picture")
    return fields


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**63  # True is an int, too, and PyTorch takes no more bits


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e100  # neither infinite nor NaN, both of which JSON may hold


def _each(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: all(map(fits, value)) if isinstance(value, list) else fits(value)


_FIELDS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "prompt": ("a string", _is_text),
    "model": ("a string", _is_text),
    "n": ("an integer", _is_integer),
    "size": ("a string", _is_text),
    "seed": ("an integer", _is_integer),
    "response_format": ("a string", _is_text),
    "user": ("a string", _is_text),
    "guidance_scale": ("a number, or a list with one per level", _each(_is_number)),
    "temperature": ("a number, or a list with one per level", _each(_is_number)),
    "top_k": ("an integer, or a list with one per level", _each(_is_integer)),
    "top_p": ("a number, or a list with one per level", _each(_is_number)),
    "symbol": ("an integer", _is_integer),
}
"""What a value must be, in words and as a test."""

_SAMPLING = ("guidance_scale", "temperature", "top_k", "top_p")


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _spell(value: Any) -> str:
    spelled = json.dumps(value, ensure_ascii=True)
    return spelled if len(spelled) <= 100 else spelled[:97] + "..."


def pixel_sizes(bundle: Bundle) -> dict[str, str]:
    """For every size of a bundle by its name its pixels, "WxH"."""
    config = bundle.image_tokenizer.config
    stride = config.strides[-1]
    sizes: dict[str, str] = {}
    for name, grids in bundle.vocabulary.sizes.items():
        rows, columns = grids[-1]
        side = stride if isinstance(stride, int) else config.image_size  # one code for the whole image
        sizes[name] = f"{columns * side}x{rows * side}"
    return sizes


def _size_name(size: str, bundle: Bundle) -> str:
    """The bundle's name for a size given by that name, or in pixels, width x height."""
    if size in bundle.vocabulary.sizes:
        return size
    pixels = pixel_sizes(bundle)
    known = {spelled: name for name, spelled in pixels.items()}
    if size not in known:
        words = ", ".join(f"{spelled} (or {name})" for name, spelled in pixels.items())
        raise InputError(f"size must be one of {words}, got {_spell(size)}")
    return known[size]
