"""The bundle behind the web app: its pipelines, one lock around them, and what the page says of it."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cached_property
from operator import index
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image

from ..hub.card import public_name
from ..hub.errors import InputError
from ..hub.shipped import shipped_folder
from ..lm.bundle import Bundle
from ..lm.drawing import SamplingConfig, uniforms
from ..lm.image_sampler import ImageSampling
from ..lm.order import Grids
from ..lm.sampler import sample
from ..tokenizer.decoding import UnreadableImage, decode_row
from ..tokenizer.rgb import to_rgb
from .image_codec import ImageCodec
from .image_completion import ImageCompletionPipeline
from .image_to_text import ImageToTextPipeline
from .picture_input import EncodedPictures, encode_pictures
from .text_to_image import TextToImagePipeline

MAX_IMAGES = 9
"""Pictures of one request."""

MAX_PROMPT = 500
"""Characters."""

_MAX_WORDS = 24
"""Text pieces of an example."""

_EXAMPLES_TEMPERATURE = 0.7


class AppModel:
    """A bundle for many visitors: whatever runs the model holds `lock`, so that one request is computed at a time.

    Args:
        bundle: in evaluation mode.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.lock = threading.RLock()
        self.size = next(iter(bundle.vocabulary.sizes))
        self.grids: Grids = bundle.vocabulary.grids(self.size)
        self.draw = TextToImagePipeline(bundle)
        self.complete = ImageCompletionPipeline(bundle)
        self.describe = ImageToTextPipeline(bundle)

    @property
    def name(self) -> str:
        """Of the bundle, for people: one on the Hub, or the end of its path."""
        path = Path(self.bundle.name)
        if path.name == "bundle" and path.resolve().parent.name:  # as every training calls it
            return f"{path.resolve().parent.name}/bundle"
        return public_name(self.bundle.name) or "a new bundle"

    @property
    def revision(self) -> str:
        """Of the bundle, for people."""
        if self.bundle.revision:
            return self.bundle.revision[:12]
        return "comes with pictogram" if shipped_folder(self.bundle.name) else "none, a folder"

    @property
    def temperature(self) -> float:
        """The bundle's own, at which its pictures are best drawn."""
        own = ImageSampling().of_model(self.bundle.image_generation_config).temperature
        return float(own) if isinstance(own, int | float) else 1.0

    @cached_property
    def codec(self) -> ImageCodec:
        """Made when it is first asked for: it keeps the prior a second time, in float64."""
        return ImageCodec(self.bundle)

    @property
    def has_symbols(self) -> bool:
        """Whether the first code is one for the whole image."""
        return self.grids[0] == (1, 1)

    @property
    def shows_levels(self) -> bool:
        """Whether pictures can be seen after every level, which hangs on the order of their codes."""
        return self.bundle.vocabulary.order == "level"

    @property
    def level_names(self) -> list[str]:
        """Of each level, coarse to fine, for people."""
        return ["whole image" if grid == (1, 1) else f"{grid[0]}x{grid[1]}" for grid in self.grids]

    @property
    def codebook_sizes(self) -> Sequence[int]:
        """Codes K of each level."""
        return self.bundle.vocabulary.codebook_sizes

    def codes_up_to(self, num_levels: int) -> int:
        """How many codes the first levels of a picture have."""
        return sum(rows * columns for rows, columns in self.grids[:num_levels])

    @property
    def room(self) -> int:
        """Text pieces of a prompt for which the prior's context has room beside a picture and its marks."""
        return int(self.bundle.prior.config.max_position_embeddings) - self.codes_up_to(len(self.grids)) - 4

    def words(self, value: Any) -> str:
        """Words that a visitor typed, on one line; none are an empty prompt.

        Raises:
            InputError: too many.
        """
        found = " ".join(str(value or "").split())
        if len(found) > MAX_PROMPT:
            raise InputError(f"at most {MAX_PROMPT} characters are expected, got {len(found)}")
        pieces = len(self.bundle.text_tokenizer.encode(found)) if found else 0
        if pieces > self.room:
            raise InputError(f"the model has room for {self.room} pieces of text, these words have {pieces}")
        return found

    def open(self, picture: Image.Image | str | None) -> Image.Image:
        """A picture as it was handed over, in RGB.

        Args:
            picture: a path, or a PIL picture of any mode; None where nobody has chosen one.

        Raises:
            InputError: none, or a file that is no picture.
        """
        if not picture or not isinstance(picture, Image.Image | str):
            raise InputError("there is no picture yet: upload one, or draw one first")
        background = self.bundle.image_processor.background_colour
        try:
            if isinstance(picture, Image.Image):
                return to_rgb(picture, background)
            return decode_row({"bytes": Path(picture).read_bytes(), "path": None}, background)
        except UnreadableImage as error:  # the path is the server's own, and tells a visitor nothing
            raise InputError(f"this file cannot be read as a picture: {error}") from error
        except OSError as error:
            raise InputError(f"the picture cannot be read: {error.strerror or 'upload it again'}") from error

    def encode(self, picture: Image.Image) -> EncodedPictures:
        """An opened picture as the image tokenizer reads it, and its codes.

        Raises:
            InputError: the model keeps native sizes and does not know this one.
        """
        with self.lock, torch.inference_mode():
            return encode_pictures(self.bundle, [picture])

    def facts(self) -> list[tuple[str, str]]:
        """What the page says of the model: names and values."""
        bundle, vocabulary = self.bundle, self.bundle.vocabulary
        counts = " + ".join(str(rows * columns) for rows, columns in self.grids)
        kinds = " / ".join(f"{count:,}" for count in self.codebook_sizes)
        config = bundle.image_tokenizer.config
        colours = "grey" if config.num_channels == 1 else "colour"
        return [
            ("model", self.name),
            ("revision", self.revision),
            ("codes of a picture", f"{counts}, out of {kinds}"),
            ("pictures", f"{config.image_size}x{config.image_size}, {colours}"),
            ("prior", f"{type(bundle.prior).__name__}, {_millions(bundle.prior)} parameters"),
            ("image tokenizer", f"{_millions(cast(torch.nn.Module, bundle.image_tokenizer))} parameters"),
            ("fingerprint", bundle.fingerprint[:12]),
            ("fingerprint of codes", vocabulary.codes_fingerprint[:12]),
            ("fingerprint of decoder", vocabulary.decoder_fingerprint[:12]),
        ]

    def limits(self) -> str:
        """What the model and the page do not do, in a sentence or two."""
        return (
            "The model knows the pictures and the words that it was trained on, and little else; every picture becomes "
            f"{self.codes_up_to(len(self.grids))} codes, and what these do not say is lost. At most {MAX_IMAGES} "
            f"pictures at a time, words of at most {self.room} pieces."
        )

    def known_words(self, count: int, seed: int = 0) -> list[str]:
        """Captions that the prior itself writes where a document begins, so they are of the kind it was trained on.

        Returns:
            At most `count`, each once; none if it was trained without words.
        """
        vocabulary, prior = self.bundle.vocabulary, self.bundle.prior
        ends = {vocabulary.eos_id, vocabulary.null_id, *map(vocabulary.image_start_id, vocabulary.sizes)}
        draws = uniforms(range(seed, seed + 4 * count), min(_MAX_WORDS, prior.config.max_position_embeddings - 2))
        start = [[vocabulary.bos_id]] * len(draws)
        sampling = SamplingConfig(temperature=_EXAMPLES_TEMPERATURE)
        with self.lock:
            found = sample(prior, self.bundle.grammar, start, draws, sampling, stop=lambda id_: id_ in ends)
        whole = [ids for ids in found.token_ids if 0 < len(ids) < draws.shape[1]]  # others were cut off
        words = [self.bundle.text_tokenizer.decode(ids).strip() for ids in whole]
        unique = dict.fromkeys(each for each in words if each and each.isprintable())
        starts = {each.split()[0]: each for each in reversed(unique)}  # one "flag ..." says what the others are
        return sorted(unique, key=lambda each: starts[each.split()[0]] != each)[:count]


def whole_number(name: str, value: Any, least: int, most: int) -> int:
    """A number that a visitor typed.

    Raises:
        InputError: none, no whole number, or one outside its range.
    """
    try:
        found = index(int(value)) if float(value) == int(value) else None
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None or not least <= found <= most:
        raise InputError(f"{name} must be a whole number from {least} to {most}, got {_spell(value)}")
    return found


def number(name: str, value: Any, least: float, most: float) -> float:
    """As `whole_number`, with fractions."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not least <= found <= most:
        raise InputError(f"{name} must be a number from {least:g} to {most:g}, got {_spell(value)}")
    return found


def _spell(value: Any) -> str:
    return "nothing" if value is None or value == "" else str(value)[:40]


def _millions(model: torch.nn.Module) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    return f"{count / 1e6:.1f} million" if count >= 1e5 else f"{count:,}"
