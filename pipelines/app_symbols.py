"""Symbols in the web app: what each whole-image code looks like, and what changes when a code takes another's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageChops

from ..hub.errors import InputError
from ..lm.documents import images_to_ids
from ..lm.order import document_order
from ..lm.symbol_chances import symbol_chances
from ..tokenizer.interface import ImageCodes
from .app_actions import DrawnPicture
from .app_model import AppModel, whole_number
from .picture_drawing import decode_pictures, words_to_prompt

MAX_SYMBOLS = 1024
"""Shown on one sheet."""

_VISIBLE = 16
"""Difference of an 8-bit value that people see."""


@dataclass(frozen=True, eq=False)
class Symbol:
    """A code with what it looks like.

    Attributes:
        code: its number.
        image: a picture.
        chance: by the prior; None if it was not asked.
    """

    code: int
    image: Image.Image
    chance: float | None


@dataclass(frozen=True)
class Place:
    """Where a code stands: its level, and row and column in the level's grid, all from 0."""

    level: int
    row: int
    column: int


@dataclass(frozen=True, eq=False)
class Swap:
    """One code of a picture for another.

    Attributes:
        before: decoded picture.
        after: the same with the other code.
        change: how far they are apart at every pixel, grey; white where it is most.
        place: of the code.
        codes: the old one and the new one.
        picture: what a visitor goes on with.
        bits: of all codes by the prior, before and after.
        visible: share of pixels, 0 to 1, that change by 16 or more of 255 steps.
        inside: share of the whole change, 0 to 1, that lies in the code's own cell.
    """

    before: Image.Image
    after: Image.Image
    change: Image.Image
    place: Place
    codes: tuple[int, int]
    picture: DrawnPicture
    bits: tuple[float, float]
    visible: float
    inside: float


def prototypes(model: AppModel, words: Any = "", *, by_chance: bool = False) -> list[Symbol]:
    """The whole-image codes: what each decodes to without any other code, and how likely the prior finds it.

    Args:
        model: the bundle.
        words: the prior reads them first.
        by_chance: the likeliest first, else by number.

    Returns:
        At most `MAX_SYMBOLS`.

    Raises:
        InputError: the tokenizer has no whole-image code, or does not decode it alone.
    """
    if not model.has_symbols or not model.shows_levels:
        raise InputError("this model has no code for the whole image that decodes alone")
    words = model.words(words)
    with model.lock, torch.inference_mode():
        chances = symbol_chances(model.bundle, [words] if words else [], model.size)
        given = chances.given[0] if words else chances.alone
        order = given.argsort(descending=True, stable=True) if by_chance else torch.arange(len(given))
        shown = order[:MAX_SYMBOLS]
        images = decode_pictures(model.bundle, (shown.view(-1, 1, 1),), 1)
    each = zip(shown.tolist(), images, given[shown].tolist(), strict=True)
    return [Symbol(code, image, chance) for code, image, chance in each]


def alternatives(model: AppModel, picture: DrawnPicture, place: Place, count: int = 20) -> list[Symbol]:
    """What else could stand at a place: the codes that the prior finds likeliest given all before it.

    Returns:
        The whole picture decoded with each; the code that stands there is not among them.

    Raises:
        InputError: see `check_place`.
    """
    old = check_place(model, picture, place)
    with model.lock, torch.inference_mode():
        chances = _chances(model, picture, place)
        order = [code for code in chances.argsort(descending=True, stable=True).tolist() if code != old][:count]
        if not order:
            return []
        codes = _with_codes(picture.codes, place, order)
        images = decode_pictures(model.bundle, codes)
    return [Symbol(code, image, float(chances[code])) for code, image in zip(order, images, strict=True)]


def swap(model: AppModel, picture: DrawnPicture, place: Place, code: Any) -> Swap:
    """Puts another code at a place and leaves all others as they are.

    Raises:
        InputError: see `check_place`; or no code of that level.
    """
    old = check_place(model, picture, place)
    code = whole_number("the code", code, 0, model.codebook_sizes[place.level] - 1)
    codes = _with_codes(picture.codes, place, [old, code])
    with model.lock:
        drawn = model.draw([picture.words] * 2, coarse_codes=codes, size=_size(model, codes), seed=[0, 0])
    before, after = drawn.images
    change = _difference(before, after)
    swapped = DrawnPicture(after, tuple(level[1:] for level in drawn.codes), picture.words)
    values = np.asarray(change, dtype=np.float64)
    return Swap(
        before=before,
        after=after,
        change=_stretched(change),
        place=place,
        codes=(old, code),
        picture=swapped,
        bits=(float(drawn.bits[0]), float(drawn.bits[1])),
        visible=float((values >= _VISIBLE).mean()),
        inside=_share_inside(values, place, codes[place.level].shape[1:]),
    )


def check_place(model: AppModel, picture: DrawnPicture, place: Place) -> int:
    """The code that stands at a place.

    Raises:
        InputError: there is no such place.
    """
    if not 0 <= place.level < len(picture.codes):
        raise InputError(f"there is no level {place.level}; the picture has {len(picture.codes)}")
    rows, columns = picture.codes[place.level].shape[1:]
    if not (0 <= place.row < rows and 0 <= place.column < columns):
        raise InputError(f"row {place.row}, column {place.column} lies outside the grid of {rows}x{columns}")
    return int(picture.codes[place.level][0, place.row, place.column])


def _chances(model: AppModel, picture: DrawnPicture, place: Place) -> torch.Tensor:
    """(K,) float64, p(code at the place | words, all codes before it)."""
    bundle, vocabulary = model.bundle, model.bundle.vocabulary
    size = _size(model, picture.codes)
    layout = document_order(vocabulary.grids(size), vocabulary.order)
    here = (layout.levels == place.level) & (layout.rows == place.row) & (layout.cols == place.column)
    before = images_to_ids(vocabulary, picture.codes)[0, : int(here.nonzero()[0, 0])]
    ids = [*words_to_prompt(bundle, picture.words, size), *before.tolist()]
    logits = bundle.prior(input_ids=torch.tensor([ids], device=bundle.prior.device), use_cache=False).logits[0, -1]
    return torch.softmax(logits.cpu()[vocabulary.level_ids(place.level)].double(), 0)


def _with_codes(codes: ImageCodes, place: Place, values: Sequence[int]) -> ImageCodes:
    """(1, h, w) of each level -> (N, h, w), the place with each of N values."""
    repeated = [level.repeat(len(values), 1, 1) for level in codes]
    repeated[place.level][:, place.row, place.column] = torch.tensor(values)
    return tuple(repeated)


def _size(model: AppModel, codes: ImageCodes) -> str:
    return model.bundle.vocabulary.size_of([level.shape[-2:] for level in codes])


def _difference(first: Image.Image, second: Image.Image) -> Image.Image:
    """Grey: of three colours the one that differs most."""
    parts = ImageChops.difference(first.convert("RGB"), second.convert("RGB")).split()
    return ImageChops.lighter(ImageChops.lighter(parts[0], parts[1]), parts[2])


def _stretched(change: Image.Image) -> Image.Image:
    """The greatest difference becomes white; none stays black."""
    values = np.asarray(change, dtype=np.float64)
    peak = values.max()
    return Image.fromarray((values * (255 / peak if peak else 0)).astype(np.uint8))


def _share_inside(values: np.ndarray, place: Place, grid: Sequence[int]) -> float:
    rows, columns = grid
    height, width = values.shape[0] // rows, values.shape[1] // columns
    top, left = place.row * height, place.column * width
    total = values.sum()
    return float(values[top : top + height, left : left + width].sum() / total) if total else 0.0
