"""Which columns of a dataset hold the pictures and their captions, and how captions are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Features, Image, LargeList, List, Value
from datasets.features.features import FeatureType, require_decoding

from ..hub.errors import InputError, first_line

CAPTION_COLUMNS = ("caption", "text", "name")
"""Columns taken for captions when none is named, in this order."""


def find_image_column(features: Features, source: str) -> str:
    """The first column of type Image, else the first that holds a picture's bytes without saying so.

    Args:
        features: of the dataset.
        source: its name, for messages.

    Raises:
        InputError: there is none.
    """
    for name, feature in features.items():
        if isinstance(feature, Image):
            return name
    for name, feature in features.items():
        if feature in (Value("binary"), Value("large_binary")) or (isinstance(feature, dict) and "bytes" in feature):
            return name
    raise InputError(f"{source} has no column with pictures; its columns: {', '.join(features)}")


def columns_as_they_are(features: Features) -> list[str]:
    """The columns that are read without decoding anything: all but pictures, sounds and films that are to be decoded.

    Example:
        >>> columns_as_they_are(Features({"image": Image(decode=False), "mask": Image(), "n": Value("int64")}))
        ['image', 'n']
    """
    return [name for name, feature in features.items() if not require_decoding(feature)]


def find_caption_column(features: Features, source: str, wanted: str | None) -> str | None:
    """The column `wanted`, else the first of `CAPTION_COLUMNS` with text, else the first class label, else None.

    Raises:
        InputError: `wanted` is missing, or holds no captions.
    """
    if wanted is not None:
        if wanted not in features:
            raise InputError(f"{source} has no column {wanted!r}; its columns: {', '.join(features)}")
        if not (holds_text(features[wanted]) or isinstance(features[wanted], ClassLabel)):
            raise InputError(
                f"captions must be text, lists of text or class labels; {wanted!r} holds {features[wanted]}"
            )
        return wanted
    named = [name for name in CAPTION_COLUMNS if name in features and holds_text(features[name])]
    labels = [name for name, feature in features.items() if isinstance(feature, ClassLabel)]
    return next(iter(named + labels), None)


def check_captions_are_text(features: Features, source: str) -> None:
    """Raises InputError for a column "caption" that holds no text: it was meant for one, and would be passed over."""
    name = CAPTION_COLUMNS[0]
    if name in features and not (holds_text(features[name]) or isinstance(features[name], ClassLabel)):
        raise InputError(
            f"{source} has a column {name!r} that holds {features[name]} and no text; write texts there, or name the "
            f"column of the captions with --caption-column"
        )


def holds_text(feature: FeatureType) -> bool:
    """Whether a column holds texts or lists of them; lists of lists are none."""
    return is_text(feature.feature if isinstance(feature, (List, LargeList)) else feature)


def is_text(feature: FeatureType) -> bool:
    """Whether a column holds one text a row."""
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string", "null")


def holds_several(features: Features, column: str | None) -> bool:
    """Whether a row's value in a column is a list; False without a column."""
    return column is not None and isinstance(features[column], (List, LargeList))


def captions_in(row: Mapping[str, Any], column: str | None, features: Features) -> list[str]:
    """The captions of a row, see `captions_of`; the empty one without a column."""
    return [""] if column is None else captions_of(row[column], features[column])


def caption_lines(content: bytes) -> list[str]:
    r"""The lines of a UTF-8 text file without empty ones, at least one caption.

    Example:
        >>> caption_lines(b"a cat\n\n eine Katze\n"), caption_lines(b"")
        (['a cat', 'eine Katze'], [''])
    """
    lines = content.decode("utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()] or [""]


def captions_of(value: Any, feature: FeatureType) -> list[str]:
    """A caption column's value as captions, at least one; the empty one where there is none.

    Example:
        >>> captions_of(1, ClassLabel(names=["cat", "dog"])), captions_of(None, Value("string"))
        (['dog'], [''])
    """
    if isinstance(feature, ClassLabel):
        return [feature.names[value] if value is not None and value >= 0 else ""]  # -1 stands for "no label"
    texts = value if isinstance(value, list) else [value]
    return [text or "" for text in texts] or [""]


def captions_beside(picture: str) -> list[str]:
    """The captions of a picture file: the lines of the text file of its name, without empty ones, at least one.

    Args:
        picture: path of the picture; "a.png" has its captions in "a.txt".

    Raises:
        InputError: the text file cannot be read, or is not UTF-8.
    """
    path = Path(picture).with_suffix(".txt")
    try:
        return caption_lines(path.read_bytes())
    except FileNotFoundError:
        return [""]
    except UnicodeDecodeError:
        raise InputError(f"its caption {path.name} is not UTF-8") from None
    except OSError as error:
        raise InputError(f"its caption {path.name} cannot be read: {error.strerror or first_line(error)}") from None
