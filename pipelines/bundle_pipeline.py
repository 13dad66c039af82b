"""What all pipelines share: they hold a bundle and load it by its name."""

from __future__ import annotations

import os
from typing import TypeVar

from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..tokenizer.devices import default_device

Pipeline = TypeVar("Pipeline", bound="BundlePipeline")


class BundlePipeline:
    """Holds a bundle; subclasses say what is done with it when they are called.

    Args:
        bundle: the prior and its tokenizers.
    """

    def __init__(self, bundle: Bundle):
        self.bundle = bundle
        self.grammar = bundle.grammar

    @classmethod
    def from_pretrained(
        cls: type[Pipeline],
        bundle: str | os.PathLike[str],
        device: str | None = None,
        revision: str | None = None,
        *,
        token: str | None = None,
    ) -> Pipeline:
        """Loads a bundle onto a device.

        Args:
            bundle: its folder, or its name on the Hub, owner/name.
            device: by default a GPU if there is one.
            revision: branch, tag or commit on the Hub; the main branch unless told.
            token: of an account that may read it on the Hub; by default that of the login.

        Raises:
            InputError: see `Bundle.from_pretrained`.
        """
        return cls(Bundle.from_pretrained(bundle, revision, token=token).to(device or default_device()))


def check_positive(name: str, value: int) -> int:
    """Returns `value`, or raises `InputError` if it is below 1."""
    if value < 1:
        raise InputError(f"{name} must be at least 1, got {value}")
    return value
