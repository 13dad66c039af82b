"""What an evaluation of a bundle works on: the bundle, the rows of a dataset of codes, and how they were chosen."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch

from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..tokenizer.batches import derived_generator
from ..tokenizer.codes_dataset import CodesDataset, load_codes
from ..tokenizer.devices import default_device

_SEED = 0  # fixed, so that everybody who takes as many pictures takes the same ones


@dataclass(frozen=True)
class EvaluationInput:
    """A bundle and pictures of its codes.

    Attributes:
        bundle: on this process's device.
        codes: one split.
        rows: of `codes`, in ascending order, one per picture.
        protocol: what the figures depend on, for the document.
    """

    bundle: Bundle
    codes: CodesDataset
    rows: list[int]
    protocol: dict[str, Any]

    @classmethod
    def open(cls, model: str, codes: str, split: str, max_images: int | None) -> EvaluationInput:
        """Opens both.

        Args:
            model: the bundle, see `Bundle.from_pretrained`.
            codes: the dataset of codes, see `load_codes`.
            split: one of its splits.
            max_images: see `choose_rows`.

        Raises:
            InputError: something is missing, they do not belong together, or see `choose_rows`.
        """
        bundle = open_bundle(model)
        dataset = load_codes(codes, split, tokenizer=bundle.image_tokenizer, processor=bundle.image_processor)
        protocol = {
            "library": f"pictogram {version('pictogram')}, torch {version('torch')}",
            "model": model,
            "codes": codes,
            "split": split,
            "choice": "all pictures" if max_images is None else f"at most {max_images} of a split, seed {_SEED}",
            "codes_fingerprint": bundle.vocabulary.codes_fingerprint,
        }
        return cls(bundle, dataset, choose_rows(dataset, max_images), protocol)


def open_bundle(model: str) -> Bundle:
    """The bundle on this process's device."""
    return Bundle.from_pretrained(model).to(default_device())


def choose_rows(codes: CodesDataset, max_images: int | None) -> list[int]:
    """Row numbers in ascending order. Of the views of a picture, which tell nearly the same, the plain one counts.

    Args:
        codes: one split.
        max_images: most rows to take, drawn by a fixed seed; None takes all.

    Raises:
        InputError: `max_images` is below 1, or no row is a plain view.
    """
    if max_images is not None and max_images < 1:
        raise InputError(f"max_images must be at least 1, got {max_images}")
    rows = [row for row, view in enumerate(codes.dataset["view"]) if view == 0]
    if not rows:
        raise InputError(f"split {codes.split} holds no pictures as they are (view 0)")
    order = torch.randperm(len(rows), generator=derived_generator(_SEED, "evaluate"))[:max_images]
    return [rows[place] for place in sorted(order.tolist())]
