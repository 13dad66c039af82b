"""What drew a picture and how: written into its PNG file, so that the file alone says how it is made again.

All but a completion's original and mask, which are the caller's.

The chain is closed by fingerprints: the picture names the bundle that drew its codes, the bundle the image tokenizer
that gives them their meaning, and the codes themselves stand beside them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..hub.card import public_name
from ..hub.errors import InputError, first_line
from ..lm.bundle import Bundle
from ..tokenizer.interface import ImageCodes
from .picture_drawing import decode_pictures

PNG_KEY = "pictogram"
"""Of the text chunk that holds the JSON document."""

FORMAT_VERSION = 1

_MOST_TEXT = 900_000
"""Characters; Pillow opens no file with a megabyte of text."""

_MOST_WORDS = 10_000

_MOST_CODES = 1 << 31
"""No codebook has more; beyond 64 bits a code would not even fit into a tensor."""


@dataclass(frozen=True)
class PictureOrigin:
    """What all pictures of one call have in common.

    Attributes:
        task: "text-to-image" or "completion".
        model: public name of the bundle: its name on the Hub, a shipped model's, or a folder's own name.
        revision: commit of the Hub's repository; None for a folder.
        bundle_fingerprint: see `Bundle.fingerprint`.
        codes_fingerprint: of the image tokenizer's encoder and codebooks.
        decoder_fingerprint: of its decoder.
        settings: the arguments of the call that decide what is drawn, as JSON has them.
    """

    task: str
    model: str
    revision: str | None
    bundle_fingerprint: str
    codes_fingerprint: str
    decoder_fingerprint: str
    settings: Mapping[str, Any]

    @classmethod
    def of(cls, bundle: Bundle, task: str, settings: Mapping[str, Any]) -> PictureOrigin:
        """What `bundle` draws with these settings."""
        return cls(
            task=task,
            model=public_name(bundle.name) if bundle.name else "",
            revision=bundle.revision,
            bundle_fingerprint=bundle.fingerprint,
            codes_fingerprint=bundle.vocabulary.codes_fingerprint,
            decoder_fingerprint=bundle.vocabulary.decoder_fingerprint,
            settings={name: _plain(value) for name, value in settings.items()},
        )

    def png_text(self, prompts: Sequence[str], seeds: Sequence[int], codes: ImageCodes) -> dict[str, str]:
        """The text chunks of a PNG file with N pictures, one or a grid of them.

        Of so many pictures that readers would refuse the file, codes are left out, or prompts and seeds as well.

        Args:
            prompts: N prompts.
            seeds: N seeds.
            codes: (N, h_l, w_l) of every level.
        """
        flat = [[level[row].flatten().tolist() for level in codes] for row in range(len(prompts))]
        pictures = [
            {"prompt": prompt, "seed": seed, "codes": grids}
            for prompt, seed, grids in zip(prompts, seeds, flat, strict=True)
        ]
        header = {"format": "pictogram picture", "format_version": FORMAT_VERSION, "version": version("pictogram")}
        content = header | asdict(self) | {"pictures": pictures}
        if len(json.dumps(content)) > _MOST_TEXT:
            content["pictures"] = [{"prompt": each["prompt"], "seed": each["seed"]} for each in pictures]
        if len(json.dumps(content)) > _MOST_TEXT:
            content["pictures"] = []
        words = "; ".join(dict.fromkeys(filter(None, prompts)))[:_MOST_WORDS]
        described = {"Description": words} if words else {}
        return {"Software": f"pictogram {header['version']}"} | described | {PNG_KEY: json.dumps(content)}


def _plain(value: Any) -> Any:
    """Numbers and sequences of numpy and torch as Python's own."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def is_png(data: bytes) -> bool:
    """Whether a file begins like a PNG."""
    return data.startswith(b"\x89PNG\r\n\x1a\n")


def read_origin(path: str | Path) -> dict[str, Any]:
    """What a PNG file says of its own making: the fields of `PictureOrigin`, and "pictures" with prompts, seeds, codes.

    Raises:
        InputError: the file is no picture that pictogram drew, is damaged, or of a newer format.
    """
    try:
        with Image.open(path) as image:
            image.load()  # text may stand behind the pixels
            text = getattr(image, "text", {}).get(PNG_KEY)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path} is not a picture that can be read: {first_line(error)}") from None
    if text is None:
        raise InputError(f"{path} does not say who drew it: pictogram did not, or another program saved it again")
    try:
        content = json.loads(text)
        found = content["format_version"]
        if found > FORMAT_VERSION:
            raise InputError(f"{path} has format {found}, this version of pictogram reads up to {FORMAT_VERSION}")
        for picture in content["pictures"]:
            _ = picture["prompt"], picture["seed"]
            codes = [code for level in picture.get("codes", []) for code in [*level]]
            if any(type(code) is not int or not 0 <= code < _MOST_CODES for code in codes):
                raise InputError(
                    f"{path} is damaged where it says who drew it: codes must be whole numbers, 0 to {_MOST_CODES - 1}"
                )
        _ = content["bundle_fingerprint"], content["model"]
    except InputError:  # which is a ValueError
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(f"{path} is damaged where it says who drew it: {first_line(error)}") from None
    return content


@dataclass(frozen=True)
class OriginCheck:
    """Whether a picture is what it says.

    Attributes:
        drawn_by_this: the bundle is the one that the picture names.
        pixels_are_the_codes: the file's pixels are what its codes decode to, up to a step of 255 that rounding may
            make; None for a grid of pictures, a completion, over which the original is pasted, and another image
            tokenizer's codes.
    """

    drawn_by_this: bool
    pixels_are_the_codes: bool | None


def check_origin(path: str | Path, bundle: Bundle) -> OriginCheck:
    """Compares a PNG file with a bundle.

    Raises:
        InputError: see `read_origin`.
    """
    content = read_origin(path)
    is_same = content["bundle_fingerprint"] == bundle.fingerprint
    is_readable = content.get("decoder_fingerprint") == bundle.vocabulary.decoder_fingerprint
    if (
        len(content["pictures"]) != 1
        or "codes" not in content["pictures"][0]
        or content.get("task") != "text-to-image"
        or not is_readable
    ):
        return OriginCheck(is_same, None)
    decoded = _decoded(bundle, content["pictures"][0]["codes"])
    with Image.open(path) as image:
        found = image.convert(decoded.mode)
    if found.size != decoded.size:  # a grid of one, with its title
        return OriginCheck(is_same, None)
    return OriginCheck(is_same, _largest_difference(found, decoded) <= 1)


def _decoded(bundle: Bundle, flat: list[list[int]]) -> Image.Image:
    """The picture, or the preview from its first levels, of a size of the bundle that has as many codes."""
    if not flat:
        raise InputError(
            "the picture is damaged where it says who drew it: expected codes of a level at least, got none"
        )
    for grids in bundle.vocabulary.sizes.values():
        shapes = grids[: len(flat)]
        if [rows * columns for rows, columns in shapes] == [len(level) for level in flat]:
            codes = tuple(torch.tensor(level).view(1, *grid) for level, grid in zip(flat, shapes, strict=True))
            return decode_pictures(bundle, codes, len(shapes))[0]
    raise InputError(f"the bundle has no pictures of {' + '.join(str(len(level)) for level in flat)} codes")


def _largest_difference(first: Image.Image, second: Image.Image) -> int:
    return int(np.abs(np.asarray(first, dtype=np.int16) - np.asarray(second, dtype=np.int16)).max())
