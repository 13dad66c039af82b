"""How a model came to be, in a file that travels with it: what it learned from, and everything its numbers depend on.

Together with the fingerprints it closes the chain from pictures to samples: an image tokenizer names its pictures, a
bundle its codes and, whole, the provenance of the image tokenizer that made them. A model that went on from another one
names the trainings before its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .card import public_name
from .errors import InputError
from .files import read_json_object, write_json

PROVENANCE_NAME = "provenance.json"
FORMAT_VERSION = 2
"""2: with `Provenance.earlier`."""

_PLACES = ("data", "codes", "documents", "tokenizer", "start_from", "from_bundle", "perceptual", "reference")
"""Settings that may be paths of this machine, of which the last part is enough."""

_OBJECTS = ("fingerprints", "data", "settings", "versions")
_OF_A_TRAINING = ("stage", *_OBJECTS)
"""What `Provenance.earlier` keeps of each training."""


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a model comes from.

    Attributes:
        stage: that made it, such as "tokenizer" or "prior".
        fingerprints: of what came out: "codes" and "decoder" of an image tokenizer.
        data: what it learned from: "name", "split", "rows" and "fingerprint" of the rows.
        settings: everything its numbers depend on, JSON-serialisable.
        versions: of the libraries that took part.
        examples: captions it learned, drawn by the seed; empty for an image tokenizer.
        image_tokenizer: of a bundle: "name" and "revision" on the Hub, if it was loaded from there, and "provenance",
            None for one that has none.
        earlier: trainings that this one went on from, the first one first, each as "stage", "fingerprints", "data",
            "settings" and "versions"; empty as well where the model before came without provenance.
    """

    stage: str
    fingerprints: dict[str, str]
    data: dict[str, Any]
    settings: dict[str, Any]
    versions: dict[str, str]
    examples: list[str] = field(default_factory=list)
    image_tokenizer: dict[str, Any] | None = None
    earlier: list[dict[str, Any]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dataclasses.asdict(self)

    def save(self, folder: Path) -> None:
        """Writes `PROVENANCE_NAME`, all or nothing."""
        header = {"format": "pictogram provenance", "format_version": FORMAT_VERSION}
        write_json(folder / PROVENANCE_NAME, header | self.to_dict())

    @classmethod
    def load(cls, folder: Path) -> Provenance | None:
        """Reads `PROVENANCE_NAME`; None if there is none.

        Raises:
            InputError: it is damaged, or of a newer format.
        """
        path = folder / PROVENANCE_NAME
        if not path.is_file():
            return None
        content = read_json_object(path)
        version = content.pop("format_version", None)
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise InputError(f"{path} has format {version}, this version of pictogram reads up to {FORMAT_VERSION}")
        content.pop("format", None)
        return cls.of(content, str(path))

    @classmethod
    def of(cls, content: Any, place: str) -> Provenance:
        """What `to_dict` made.

        Raises:
            InputError: `content`, found in `place`, is something else.
        """
        try:
            found = cls(**content)
        except TypeError as error:
            raise InputError(f"{place} does not say how a model came to be: {error}") from None
        for name in _OBJECTS:
            if not isinstance(getattr(found, name), dict):
                raise InputError(f"{place} does not say how a model came to be: {name} must be an object")
        if not (isinstance(found.earlier, list) and all(map(_is_training, found.earlier))):
            expected = f"objects with stage, {', '.join(_OBJECTS)}"
            raise InputError(f"{place} does not say how a model came to be: earlier must list {expected}")
        if found.image_tokenizer is not None:
            _check_tokenizer_entry(found.image_tokenizer, place)
        return found

    def check(self, place: str, fingerprints: Mapping[str, str]) -> None:
        """Compares the fingerprints with those of the model that lies beside the file.

        Raises:
            InputError: the file is another model's.
        """
        for name, value in fingerprints.items():
            if self.fingerprints.get(name) != value:
                raise InputError(
                    f"{place}/{PROVENANCE_NAME} is another model's: its fingerprint of {name} differs; delete it "
                    "if the model was changed by other means than these commands"
                )


def _is_training(value: Any) -> bool:
    return isinstance(value, dict) and "stage" in value and all(isinstance(value.get(name), dict) for name in _OBJECTS)


def _check_tokenizer_entry(entry: Any, place: str) -> None:
    if not (isinstance(entry, dict) and {"name", "revision", "provenance"} <= {*entry}):
        raise InputError(
            f"{place} does not say how the image tokenizer came to be: image_tokenizer must have name, revision and "
            "provenance"
        )
    if entry["provenance"] is not None:
        Provenance.of(entry["provenance"], f"{place}, image_tokenizer,")


def history(before: Provenance | None) -> list[dict[str, Any]]:
    """What `Provenance.earlier` holds of a training that goes on from a model: its trainings, its own the last.

    Args:
        before: of the model; None if nobody wrote it down.

    Example:
        >>> first = Provenance(stage="prior", fingerprints={}, data={}, settings={"num_steps": 7}, versions={})
        >>> [each["settings"] for each in history(first)], history(None)
        ([{'num_steps': 7}], [])
    """
    return [] if before is None else [*before.earlier, {name: getattr(before, name) for name in _OF_A_TRAINING}]


def public_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without paths of this machine.

    Example:
        >>> public_settings({"data": "/home/me/photos", "seed": 0, "codes": "owner/name"})
        {'data': 'photos', 'seed': 0, 'codes': 'owner/name'}
    """
    return {
        name: public_name(value) if name in _PLACES and isinstance(value, str) and value else value
        for name, value in settings.items()
    }


def data_entry(name: str, split: str, rows: int, fingerprint: str) -> dict[str, Any]:
    """What `Provenance.data` holds of pictures, codes or documents; of a path the last part stays.

    Example:
        >>> data_entry("/home/me/photos", "train", 3, "ab")
        {'name': 'photos', 'split': 'train', 'rows': 3, 'fingerprint': 'ab'}
    """
    return {"name": public_name(name), "split": split, "rows": rows, "fingerprint": fingerprint}


def tokenizer_entry(name: str, revision: str | None, provenance: Provenance | None) -> dict[str, Any]:
    """What `Provenance.image_tokenizer` holds of an image tokenizer."""
    return {"name": public_name(name), "revision": revision, "provenance": provenance and provenance.to_dict()}


def tokenizer_provenance_of(bundle: Provenance, place: str) -> Provenance | None:
    """The provenance of the image tokenizer that a bundle's holds; None if there is none."""
    entry = bundle.image_tokenizer
    return None if entry is None or entry["provenance"] is None else Provenance.of(entry["provenance"], place)
