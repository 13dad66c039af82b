"""Drawing the codes of pictures: places and levels are known before, so nothing is decided token by token.

Codes may be given instead of drawn, at any place: known beginnings are read in one pass. Guidance runs as one batch of
twice the rows, only where it is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, PreTrainedModel

from ..hub.errors import InputError
from .decoder import Decoding, check_room, start
from .drawing import SamplingConfig, draw, guide
from .order import ImageCodes, document_order, flatten
from .vocabulary import JointVocabulary

PerLevel = float | Sequence[float]
"""One value for all levels, or one for each, coarse to fine."""

DRAWN = -1
"""Stands in `given` where a code is to be drawn."""


_NEUTRAL: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0}


@dataclass(frozen=True, kw_only=True)
class ImageSampling:
    """How the codes of pictures are drawn. Every value may be a sequence with one value per level, coarse to fine.

    None leaves a value to the model, see `of_model`; without one it changes nothing.

    Attributes:
        temperature: divides the logits; 0 takes the most likely code, 1 changes nothing.
        top_k: draws from the k most likely codes; 0 from all.
        top_p: draws from the most likely codes that hold this share of the chances; 1 from all.
        guidance_scale: 1 draws as the model does; see `SamplingConfig`.
        guidance_interval: first and last share, 0..1, of a picture's codes between which guidance is on (Kynkäänniemi
            et al. 2024, for diffusion); outside it costs nothing.
    """

    temperature: PerLevel | None = None
    top_k: int | Sequence[int] | None = None
    top_p: PerLevel | None = None
    guidance_scale: PerLevel = 1.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)

    def of_model(self, config: GenerationConfig | None) -> ImageSampling:
        """With the values of a model's `generation_config`, if it samples (`do_sample`), where none are given here.

        So a bundle says in a file that all of transformers reads how its pictures are best drawn, see
        `Bundle.image_generation_config`.
        """
        own = config if getattr(config, "do_sample", False) else None
        missing = [name for name in _NEUTRAL if getattr(self, name) is None]
        values = {name: getattr(own, name, None) for name in missing}
        return replace(self, **{name: _NEUTRAL[name] if value is None else value for name, value in values.items()})

    def schedule(self, levels: Sequence[int], num_levels: int) -> list[SamplingConfig]:
        """The settings at every place of a picture.

        Args:
            levels: the level of each place, in document order.
            num_levels: how many there are.

        Raises:
            InputError: a value outside its range, or as many values as there are no levels.
        """
        if len(self.guidance_interval) != 2 or not 0 <= self.guidance_interval[0] <= self.guidance_interval[1] <= 1:
            raise InputError(
                f"guidance_interval must be two shares 0 <= first <= last <= 1, got {tuple(self.guidance_interval)}"
            )
        first, last = self.guidance_interval
        names = ("temperature", "top_k", "top_p", "guidance_scale")
        given = {name: _NEUTRAL[name] if getattr(self, name) is None else getattr(self, name) for name in names[:3]}
        given["guidance_scale"] = self.guidance_scale
        values: dict[str, list[Any]] = {name: _of_levels(name, given[name], num_levels) for name in names}
        configs = [SamplingConfig(**{name: values[name][level] for name in names}) for level in range(num_levels)]
        plain = [SamplingConfig(**{name: values[name][level] for name in names[:3]}) for level in range(num_levels)]
        count = len(levels)
        return [
            (configs if first * count <= place < last * count else plain)[level] for place, level in enumerate(levels)
        ]


@dataclass(frozen=True)
class DrawnImages:
    """Codes of pictures, and what they cost.

    Attributes:
        token_ids: (B, N) int64 ids in document order.
        bits: (B, N) float64, -log2 of the model's own probability of each among the codes of its level, given all
            before it; without temperature, truncation or guidance. Given codes are counted like drawn ones.
    """

    token_ids: torch.Tensor
    bits: torch.Tensor


def given_ids(vocabulary: JointVocabulary, codes: ImageCodes) -> torch.Tensor:
    """(B, N) ids in document order of codes that are known, `DRAWN` for the others.

    Args:
        vocabulary: the joint vocabulary.
        codes: one LongTensor (B, h_l, w_l) per level, coarse to fine, `DRAWN` where a code is to be drawn.

    Raises:
        InputError: the grids are no size of the vocabulary, or a code is outside its codebook.
    """
    vocabulary.size_of([level.shape[-2:] for level in codes])
    ids = [
        torch.where(grid == DRAWN, DRAWN, vocabulary.codes_to_ids(level, grid.masked_fill(grid == DRAWN, 0).long()))
        for level, grid in enumerate(codes)
    ]
    return flatten(tuple(ids), vocabulary.order)


class ImageDrawing:
    """Pictures of one size while they are drawn.

    Args:
        model: a causal LM in evaluation mode; Llama and Qwen3 are fastest.
        vocabulary: of its ids.
        size: name of the pictures' size.
        prompts: B lists of ids that end with the size's `<image HxW>`.
        draws: (B, N) uniform numbers in [0, 1), one for each code.
        sampling: how to draw.
        unconditional: what stands in the prompts' place without the condition; guidance needs it.
        given: LongTensor (B, N) of ids in document order that are not drawn, `DRAWN` elsewhere; None draws all.

    Raises:
        InputError: no prompts, draws of another shape, settings outside their range, prompts longer than the model's
            context, or guidance without `unconditional`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        vocabulary: JointVocabulary,
        size: str,
        prompts: Sequence[Sequence[int]],
        draws: torch.Tensor,
        sampling: ImageSampling,
        *,
        unconditional: Sequence[int] | None = None,
        given: torch.Tensor | None = None,
    ):
        layout = document_order(vocabulary.grids(size), vocabulary.order)
        self.levels: list[int] = layout.levels.tolist()
        if not prompts or draws.shape != (len(prompts), len(self.levels)):
            raise InputError(
                f"draws have shape {tuple(draws.shape)}, expected ({len(prompts)}, {len(self.levels)}): one number for "
                "each code of each of at least one prompt"
            )
        check_room(model, max(map(len, prompts)), len(self.levels))
        self.model, self.prompts, self.unconditional = model, prompts, unconditional
        self.draws = draws.to(model.device)
        self.schedule = sampling.schedule(self.levels, vocabulary.num_levels)
        self.is_guided = [config.guidance_scale != 1 for config in self.schedule]
        if any(self.is_guided) and unconditional is None:
            raise InputError("guidance needs a prompt without the condition")
        shape = (len(prompts), len(self.levels))
        self.given = torch.full(shape, DRAWN) if given is None else given
        self.is_given: list[bool] = (self.given != DRAWN).all(0).tolist()  # of every picture
        self.is_partly_given: list[bool] = (self.given != DRAWN).any(0).tolist()
        self.token_ids = torch.empty(shape, dtype=torch.int64, device=model.device)
        self.bits = torch.zeros(shape, dtype=torch.float64, device=model.device)
        self._ids = [as_columns(vocabulary.level_ids(level), model.device) for level in range(vocabulary.num_levels)]
        self._starts = [int(vocabulary.codes_to_ids(level, 0)) for level in range(vocabulary.num_levels)]
        self.position = 0
        self._decoding: Decoding | None = None
        self._unread = 0
        self._doubled = False

    def draw(self, count: int | None = None) -> DrawnImages:
        """Draws the next `count` codes of every picture, by default all that are left; returns all so far."""
        last = len(self.levels) if count is None else min(self.position + count, len(self.levels))
        with torch.inference_mode():
            while self.position < last:
                self._advance(last)
        return DrawnImages(self.token_ids[:, : self.position].cpu(), self.bits[:, : self.position].cpu())

    def settle(self, ids: torch.Tensor) -> None:
        """Gives the next codes of every picture, so that they are not drawn.

        Args:
            ids: LongTensor (B, M) of ids in document order, which are not checked.
        """
        places = range(self.position, self.position + ids.shape[1])
        self.given = self.given.clone()  # the caller's
        self.given[:, places] = ids
        for place in places:
            self.is_given[place] = self.is_partly_given[place] = True

    def _advance(self, last: int) -> None:
        """Takes the codes that are given, as many as follow each other, or draws one."""
        first, run = self.position, 0
        level = self.levels[first]
        while first + run < last and self.is_given[first + run] and self.levels[first + run] == level:
            run += 1
        self._read(first)
        if run:
            self._take_given(first, first + run)
        else:
            self._draw_one(first)
        self.position = first + max(run, 1)

    def _take_given(self, first: int, last: int) -> None:
        """Writes given codes of one level and what they cost: one pass over all but the last of them."""
        ids = self.given[:, first:last].to(self.model.device)
        self.token_ids[:, first:last] = ids
        logits = self._conditional_logits(self.levels[first])[:, -1:]  # of the first
        if last - first > 1:
            self._append(ids[:, :-1])
            logits = torch.cat([logits, self._conditional_logits(self.levels[first])], 1)
        self._unread = 1
        columns = self._columns_of(ids, self.levels[first])
        self.bits[:, first:last] = _bits(logits, columns)

    def _draw_one(self, place: int) -> None:
        level, config, count = self.levels[place], self.schedule[place], len(self.prompts)
        logits = self._logits(level)[:, -1]  # (B or 2B, n)
        conditional = logits[:count]
        scores = conditional
        if self.is_guided[place]:
            scores = guide(conditional, logits[count:], config.guidance_scale)
        columns = draw(scores, self.draws[:, place], config)
        if self.is_partly_given[place]:
            given = self.given[:, place].to(columns.device)
            known = self._columns_of(given.clamp(min=self._starts[level]), level)
            columns = torch.where(given == DRAWN, columns, known)
        ids = self._ids[level]
        self.token_ids[:, place] = columns + ids.start if isinstance(ids, slice) else ids[columns]
        self.bits[:, place] = _bits(conditional[:, None], columns[:, None]).squeeze(1)
        self._unread = 1

    def _read(self, place: int) -> None:
        """Makes sure that all codes before `place` were read, by as many rows as this place needs."""
        needs_double = self.is_guided[place]
        if self._decoding is None or (needs_double and not self._doubled):
            self._restart(place, needs_double)
            return
        if self._doubled and not any(self.is_guided[place:]):
            self._decoding.select(torch.arange(len(self.prompts), device=self.model.device))
            self._doubled = False
        if self._unread:
            self._append(self.token_ids[:, place - 1 : place])
            self._unread = 0

    def _restart(self, place: int, doubled: bool) -> None:
        """Reads prompts and all codes so far anew, with as many rows again without the condition if `doubled`."""
        count = len(self.prompts)
        prompts = [*self.prompts, *([self.unconditional or ()] * count if doubled else ())]
        self._doubled, self._unread = doubled, 0
        self._decoding = start(self.model, prompts, len(self.levels))
        if place:
            self._append(self.token_ids[:, :place])

    def _append(self, ids: torch.Tensor) -> None:
        assert self._decoding is not None
        self._decoding.append(ids.repeat(2, 1) if self._doubled else ids)

    def _logits(self, level: int) -> torch.Tensor:
        assert self._decoding is not None
        return self._decoding.logits(self._ids[level])

    def _conditional_logits(self, level: int) -> torch.Tensor:
        return self._logits(level)[: len(self.prompts)]

    def _columns_of(self, ids: torch.Tensor, level: int) -> torch.Tensor:
        """Places of ids among a level's ascending ids."""
        known = self._ids[level]
        return ids - known.start if isinstance(known, slice) else torch.searchsorted(known, ids.contiguous())


def _of_levels(name: str, value: PerLevel, num_levels: int) -> list[float]:
    if isinstance(value, (np.ndarray, torch.Tensor)):
        value = value.tolist()
    values: list[float] = [*value] if isinstance(value, Sequence) else [value] * num_levels
    if not all(isinstance(each, Real) for each in values):
        raise InputError(f"{name} must be a number, or one for each level, got {value!r}")
    if len(values) != num_levels:
        raise InputError(f"{name} has {len(values)} values, expected one, or one for each of {num_levels} levels")
    return values


def as_columns(ids: torch.Tensor, device: torch.device) -> torch.Tensor | slice:
    """Ascending ids as a slice if they have no gap, which spares copying the output layer's rows at every step."""
    first, last = int(ids[0]), int(ids[-1])
    return slice(first, last + 1) if last - first + 1 == len(ids) else ids.to(device)


def _bits(logits: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """(B, M) float64 cost of the chosen columns; logits (B, M, n), columns (B, M)."""
    return -torch.log_softmax(logits.double(), -1).gather(2, columns[..., None]).squeeze(2) / math.log(2)
