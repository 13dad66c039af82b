"""What the web app does with its model: draw, complete and describe. No part of it knows the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..hub.errors import InputError
from ..lm.image_sampler import ImageSampling
from ..tokenizer.image_processor import to_images
from ..tokenizer.interface import ImageCodes
from .app_model import MAX_IMAGES, AppModel, number, whole_number
from .image_completion import ImageCompletionOutput
from .picture_drawing import decode_pictures
from .text_to_image import TextToImageOutput

MAX_SEED = 2**32 - 1

_NUM_GUESSES = 4
"""Captions that are drawn beside the likeliest one."""


@dataclass(frozen=True, eq=False)
class DrawnPicture:
    """A picture that a visitor can go on with.

    Attributes:
        image: its pixels.
        codes: (1, h, w) of each level.
        words: that it was drawn from.
        seed: of it; None for an uploaded one.
    """

    image: Image.Image
    codes: ImageCodes
    words: str = ""
    seed: int | None = None


@dataclass(frozen=True, eq=False)
class Drawing:
    """Pictures on their way.

    Attributes:
        stages: after every level that is done; of a bundle that cannot show levels, the end alone.
        is_done: whether nothing is to come.
    """

    stages: Sequence[TextToImageOutput]
    is_done: bool

    @property
    def latest(self) -> TextToImageOutput:
        """The last stage."""
        return self.stages[-1]

    def pictures(self) -> list[DrawnPicture]:
        """Each by itself."""
        latest = self.latest
        each = zip(latest.images, latest.prompts, latest.seeds, strict=True)
        return [
            DrawnPicture(image, tuple(level[row : row + 1] for level in latest.codes), words, seed)
            for row, (image, words, seed) in enumerate(each)
        ]


@dataclass(frozen=True)
class Sampling:
    """What a visitor sets, unchecked.

    Attributes:
        num_images: 1 to `MAX_IMAGES`.
        seed: of the first picture.
        guidance: 1 draws as the model does.
        temperature: 0 takes the most likely codes.
    """

    num_images: Any = 1
    seed: Any = 0
    guidance: Any = 1.0
    temperature: Any = 1.0

    def checked(self) -> tuple[int, int, ImageSampling]:
        """Number of pictures, seed, and the rest as the pipelines take it.

        Raises:
            InputError: a value outside its range.
        """
        count = whole_number("the number of pictures", self.num_images, 1, MAX_IMAGES)
        seed = whole_number("the seed", self.seed, 0, MAX_SEED)
        guidance = number("guidance", self.guidance, 0, 20)
        temperature = number("temperature", self.temperature, 0, 10)
        return count, seed, ImageSampling(guidance_scale=guidance, temperature=temperature)


def draw(model: AppModel, words: Any, sampling: Sampling, symbol: Any = None) -> Iterator[Drawing]:
    """Draws pictures, and shows them after every level.

    Args:
        model: the bundle.
        words: prompt of all pictures; the empty one asks for any picture.
        sampling: how.
        symbol: whole-image code that all have; None or "" leaves it to the prior.

    Raises:
        InputError: before the first picture, for anything out of range.
    """
    count, seed, how = sampling.checked()
    if symbol in (None, ""):
        symbol = None
    elif not model.has_symbols:
        raise InputError("this model has no code for the whole image, so there is no symbol to choose")
    else:
        symbol = whole_number("the symbol", symbol, 0, model.codebook_sizes[0] - 1)
    options: dict[str, Any] = {"num_images": count, "seed": seed, "symbol": symbol}
    if not model.shows_levels:
        options |= {"guidance_scale": how.guidance_scale, "temperature": how.temperature}
        with model.lock:
            last = model.draw(model.words(words), **options)
        yield Drawing([last], True)
        return
    stages: list[TextToImageOutput] = []
    coming = model.draw.stream(model.words(words), sampling=how, **options)
    for _ in model.grids:
        with model.lock:  # not across `yield`: who has left would keep everybody waiting
            stages.append(next(coming))
        yield Drawing(tuple(stages), len(stages) == len(model.grids))


def complete(
    model: AppModel,
    picture: Image.Image | str | None,
    sampling: Sampling,
    *,
    words: Any = "",
    keep_rows: Any = None,
    mask: Image.Image | None = None,
) -> ImageCompletionOutput:
    """Keeps a part of a picture and draws the rest anew; `keep_rows`, a share, counts where there is no mask.

    Raises:
        InputError: no picture, a value out of range, or a region that keeps or draws nothing.
    """
    opened = model.open(picture)
    count, seed, how = sampling.checked()
    rows = number("the share that is kept", keep_rows, 0.01, 0.99) if mask is None else None
    with model.lock:
        return model.complete(
            opened,
            keep_rows=rows,
            mask=mask,
            prompts=model.words(words),
            num_images=count,
            seed=seed,
            guidance_scale=how.guidance_scale,
            temperature=how.temperature,
        )


def painted_mask(painting: Mapping[str, Any] | None, size: tuple[int, int]) -> Image.Image:
    """What was painted over a picture, as a mask: white where it was touched.

    Args:
        painting: of an image editor, its "layers" pictures with transparency, of any one size.
        size: width and height of the mask, those of the picture.

    Raises:
        InputError: nothing was painted.
    """
    layers = [layer for layer in (painting or {}).get("layers") or () if layer is not None]
    touched = [np.asarray(layer.convert("RGBA"))[..., 3] > 0 for layer in layers]
    if not any(layer.any() for layer in touched):
        raise InputError("nothing is painted yet: paint over what shall be drawn anew")
    # A box's mean shows any paint in it, as in `kept_pixels`; a picture larger than its view takes the nearest pixels.
    masks = [Image.fromarray(np.where(layer, np.uint8(255), np.uint8(0))) for layer in touched]
    scaled = [np.asarray(mask.resize(size, Image.Resampling.BOX)) > 0 for mask in masks]
    return Image.fromarray(np.where(np.any(scaled, 0), np.uint8(255), np.uint8(0)))


@dataclass(frozen=True, eq=False)
class Described:
    """What the model says of a picture.

    Attributes:
        picture: as the image tokenizer read it.
        decoded: what its codes say of it; the prior sees no more.
        captions: with bits, -log2 of each one's probability; the likeliest first.
    """

    picture: Image.Image
    decoded: Image.Image
    captions: list[tuple[str, float]]


def caption(model: AppModel, picture: Image.Image | str | None, seed: Any = 0) -> Described:
    """Words for a picture: taking the likeliest piece each time, and drawn, without repetition.

    Raises:
        InputError: no picture, or a seed out of range.
    """
    opened, seed = model.open(picture), whole_number("the seed", seed, 0, MAX_SEED)
    read, decoded, _ = look(model, opened)
    with model.lock:
        likely = model.describe(opened)
        drawn = model.describe([opened] * _NUM_GUESSES, seed=seed, temperature=1.0)
    captions = dict(
        zip([*likely.captions, *drawn.captions], [*likely.bits.tolist(), *drawn.bits.tolist()], strict=True)
    )
    return Described(read, decoded, sorted(captions.items(), key=lambda found: found[1]))


def look(model: AppModel, opened: Image.Image) -> tuple[Image.Image, Image.Image, ImageCodes]:
    """An opened picture as the image tokenizer reads it, as its codes decode, and the codes.

    Raises:
        InputError: see `AppModel.encode`.
    """
    encoded = model.encode(opened)
    with model.lock, torch.inference_mode():
        decoded = decode_pictures(model.bundle, encoded.codes)[0]
    return to_images(encoded.pixel_values)[0], decoded, encoded.codes
