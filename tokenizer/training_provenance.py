"""How an image tokenizer came to be, as its training writes it down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..hub.provenance import Provenance, data_entry, public_settings
from .codes_manifest import library_versions
from .fingerprints import codes_fingerprint, decoder_fingerprint
from .image_processor import ImageTokenizerImageProcessorPil
from .interface import TokenizesImages
from .pixel_dataset import PixelDataset


def learned_from(name: str, split: str, dataset: PixelDataset) -> dict[str, Any]:
    """What `Provenance.data` holds.

    Args:
        name: of the pictures, as the command was told; of a path the last part stays.
        split: of them.
        dataset: all of them that could be read.
    """
    return data_entry(name, split, len(dataset), dataset.fingerprint)


def tokenizer_provenance(
    model: TokenizesImages,
    processor: ImageTokenizerImageProcessorPil,
    *,
    data: dict[str, Any],
    settings: Mapping[str, Any],
    earlier: Sequence[dict[str, Any]] = (),
) -> Provenance:
    """The provenance of an image tokenizer.

    Args:
        model: as it is saved.
        processor: of its pixels.
        data: see `learned_from`.
        settings: everything its numbers depend on; its "stage" says what made it.
        earlier: trainings that it went on from, see `Provenance.earlier`.
    """
    return Provenance(
        stage=settings["stage"],
        fingerprints={"codes": codes_fingerprint(model, processor), "decoder": decoder_fingerprint(model)},
        data=data,
        settings=public_settings(settings),
        versions=library_versions(),
        earlier=list(earlier),
    )
