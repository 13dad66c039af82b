"""A trained tokenizer learns new pictures with as few of its symbols as it needs; the old ones stay what they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from .adaptation_config import GROW, LORA, AdaptationSettings
from .adaptation_report import (
    AdaptationReport,
    Measured,
    decode_alike,
    level_changes,
    measure,
    network_sha256,
    numbers_changed,
    pictures_change,
)
from .adaptation_training import train_adaptation
from .batches import derived_generator
from .growth import grow_codebooks
from .image_processor import ImageTokenizerImageProcessorPil
from .interface import TokenizesImages
from .model import ImageTokenizer
from .pixel_dataset import PixelDataset
from .progress import progress_bar
from .row_growth import LevelUse, level_uses, missing_rows, reserved_rows, survey


@dataclass(frozen=True, eq=False)
class AdaptationPictures:
    """Pictures of one size, as the tokenizer's processor makes them.

    Attributes:
        new: to learn from.
        old: what the tokenizer knew; their codes are counted, nothing is learned from them.
        measured_new: to measure on, before and after.
        measured_old: the same of the old ones.
    """

    new: PixelDataset
    old: PixelDataset
    measured_new: PixelDataset
    measured_old: PixelDataset


@dataclass(frozen=True, eq=False)
class Preparation:
    """What all modes begin with: the tokenizer and what it makes of the pictures.

    Attributes:
        model: the tokenizer, which stays as it is.
        processor: of its pixels.
        pictures: they.
        uses: of its rows, one entry a level.
        rows: (n, D) new ones a level.
        new: the new pictures, measured before.
        old: the old pictures, measured before.
    """

    model: ImageTokenizer
    processor: ImageTokenizerImageProcessorPil
    pictures: AdaptationPictures
    uses: list[LevelUse]
    rows: list[torch.Tensor]
    new: Measured
    old: Measured


@dataclass(frozen=True, eq=False)
class AdaptedModel:
    """The adapted tokenizer, in evaluation mode, and what changed."""

    model: ImageTokenizer
    report: AdaptationReport


def adaptable(model: TokenizesImages, name: str) -> ImageTokenizer:
    """The model, if its symbols are rows that can learn alone.

    Raises:
        InputError: another system's tokenizer, or a quantizer other than "ema".
    """
    if not isinstance(model, ImageTokenizer):
        raise InputError(f"{name} holds another system's tokenizer, which cannot be adapted here")
    if model.config.quantizer != "ema":
        raise InputError(
            f'{name} has the quantizer {model.config.quantizer!r}; only codebooks of the quantizer "ema" have '
            "rows that can be added and learn alone"
        )
    return model


def prepare_adaptation(
    model: ImageTokenizer,
    processor: ImageTokenizerImageProcessorPil,
    pictures: AdaptationPictures,
    settings: AdaptationSettings,
) -> Preparation:
    """Looks where the tokenizer lacks rows for the new pictures and which of its rows they invoke, and measures.

    Args:
        model: in evaluation mode, see `adaptable`.
        processor: of its pixels.
        pictures: new and old ones.
        settings: what of them says how rows are found and counted; one preparation serves all modes.

    Raises:
        InputError: `new_codes` that do not fit the tokenizer, or pictures that it cannot encode.
    """
    counts = settings.new_counts(model.config.codebook_sizes)
    new = _sample(pictures.new, processor, settings)
    old_latents = survey(model, _sample(pictures.old, processor, settings), settings.seed)
    uses = level_uses(old_latents, survey(model, new, settings.seed), model.config.codebook_sizes, settings)
    rows = missing_rows(model, processor, old_latents, new, counts, settings)
    return Preparation(model, processor, pictures, uses, rows, *_measure_both(model, pictures))


def adapt_tokenizer(prepared: Preparation, settings: AdaptationSettings) -> AdaptedModel:
    """Adapts the tokenizer in the mode that `settings` asks for.

    Args:
        prepared: see `prepare_adaptation`; it stays as it is.
        settings: of the adaptation.

    Raises:
        InputError: a rank of adapters that the budget does not allow.
        RuntimeError: something moved that the mode promises to leave as it is.
    """
    before, processor = prepared.model, prepared.processor
    rows = _new_rows(prepared, settings)
    after = grow_codebooks(before, processor, rows).to(before.device)  # pyright: ignore[reportArgumentType]
    learning = _learning(prepared, rows, settings.mode)
    trained = train_adaptation(after, learning, before.config.codebook_sizes, prepared.pictures.new, settings)
    if settings.mode != GROW:  # codes of old files would give other pictures
        after.config.ancestors = []
    report = _report(prepared, after, learning, settings.mode, trained)
    if broken := report.broken_promises():
        raise RuntimeError(f"the mode {settings.mode} must not change these, but did: {', '.join(broken)}")
    return AdaptedModel(after, report)


def _new_rows(prepared: Preparation, settings: AdaptationSettings) -> list[torch.Tensor]:
    """(n, D) a level: all that are missing; none in the mode lora, and in grow those that leave old codes alone."""
    if settings.mode == LORA:
        return [rows[:0] for rows in prepared.rows]
    if settings.mode != GROW:
        return prepared.rows
    model, processor = prepared.model, prepared.processor
    old, new = (_sample(each, processor, settings) for each in (prepared.pictures.old, prepared.pictures.new))
    return reserved_rows(model, processor, old, new, prepared.rows, settings)


def _learning(prepared: Preparation, rows: Sequence[torch.Tensor], mode: str) -> list[torch.Tensor]:
    """(n,) int64 a level: the rows that may move. In the mode full, in which all do, those of the mode symbols."""
    learning: list[torch.Tensor] = []
    for use, new in zip(prepared.uses, rows, strict=True):
        size = len(use.moved)
        moved = torch.empty(0, dtype=torch.int64) if mode in (GROW, LORA) else use.moved.nonzero().squeeze(1)
        learning.append(torch.cat([moved, torch.arange(size, size + len(new))]))
    return learning


def _report(
    prepared: Preparation, after: ImageTokenizer, learning: Sequence[torch.Tensor], mode: str, trained: int
) -> AdaptationReport:
    before, sizes = prepared.model, prepared.model.config.codebook_sizes
    new, old = _measure_both(after, prepared.pictures)
    return AdaptationReport(
        mode=mode,
        levels=level_changes(before, after, prepared.uses, learning, (prepared.old.codes, old.codes)),
        encoder_sha256_before=network_sha256(before, "encoder", sizes),
        encoder_sha256_after=network_sha256(after, "encoder", sizes),
        decoder_sha256_before=network_sha256(before, "decoder", sizes),
        decoder_sha256_after=network_sha256(after, "decoder", sizes),
        numbers=sum(parameter.numel() for parameter in after.parameters()),
        numbers_trained=trained,
        numbers_changed=numbers_changed(before, after),
        new=pictures_change(prepared.new, new),
        old=pictures_change(prepared.old, old),
        old_codes_decode_alike=decode_alike(before, after, prepared.old.codes),
        ancestors=len(after.config.ancestors or []),
    )


def _measure_both(model: ImageTokenizer, pictures: AdaptationPictures) -> tuple[Measured, Measured]:
    sets = (pictures.measured_new, pictures.measured_old)
    with progress_bar("measure", sum(map(len, sets))) as advance:
        new, old = (measure(model, each, advance) for each in sets)
    return new, old


def _sample(
    dataset: PixelDataset, processor: ImageTokenizerImageProcessorPil, settings: AdaptationSettings
) -> PixelDataset:
    if len(dataset) <= settings.max_surveyed:
        return dataset
    order = torch.randperm(len(dataset), generator=derived_generator(settings.seed, "survey"))
    return PixelDataset(dataset.source.select(sorted(order[: settings.max_surveyed].tolist())), processor)
