"""More codes for a trained tokenizer: rows are appended, and nothing that was there changes."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from ..hub.errors import InputError
from .ancestors import Ancestor
from .config import ImageTokenizerConfig
from .fingerprints import codes_fingerprint, decoder_fingerprint
from .image_processor import ImageTokenizerImageProcessorPil
from .model import ImageTokenizer
from .quantizer import nearest

_GROWING = ("ema",)
"""Quantizers whose codes are rows of a table. FSQ and LFQ have a fixed grid; l2 rows are kept at unit length."""


def grow_codebooks(
    model: ImageTokenizer, processor: ImageTokenizerImageProcessorPil, rows: Sequence[torch.Tensor]
) -> ImageTokenizer:
    """A tokenizer with all codes of `model` and new ones behind them; `model` stays as it is.

    A new code costs what its nearest old one costs, where bits count, and one bit more. It has the running use of the
    least used old one.

    Args:
        model: with the quantizer "ema".
        processor: of its pixels, for the fingerprints of the ancestor.
        rows: one (n, D) of new vectors per level, coarse to fine; n may be 0.

    Returns:
        In evaluation mode, on the CPU. Its configuration names `model` as an ancestor.

    Raises:
        InputError: another quantizer, or rows of another number or shape.
    """
    _check(model, rows)
    config = _grown_config(model, processor, rows)
    grown = ImageTokenizer(config).eval()
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    for level, new in enumerate(rows):
        if len(new):
            state |= _grown_level(state, level, new.detach().cpu().float())
    grown.load_state_dict(state)
    return grown


def _check(model: ImageTokenizer, rows: Sequence[torch.Tensor]) -> None:
    config = model.config
    if config.quantizer not in _GROWING:
        raise InputError(f'only codebooks of the quantizer "ema" can grow, got {config.quantizer!r}')
    shapes = [tuple(new.shape) for new in rows]
    if len(rows) != config.num_levels or any(
        new.ndim != 2 or new.shape[1] != config.codebook_dim or not new.isfinite().all() for new in rows
    ):
        raise InputError(
            f"expected finite rows of {config.codebook_dim} numbers for each of {config.num_levels} levels, "
            f"got shapes {shapes}"
        )


def _grown_config(
    model: ImageTokenizer, processor: ImageTokenizerImageProcessorPil, rows: Sequence[torch.Tensor]
) -> ImageTokenizerConfig:
    config = copy.deepcopy(model.config)
    ancestor = Ancestor(codes_fingerprint(model, processor), decoder_fingerprint(model), tuple(config.codebook_sizes))
    config.ancestors = [*(config.ancestors or []), ancestor.to_json()]
    config.codebook_sizes = [size + len(new) for size, new in zip(config.codebook_sizes, rows, strict=True)]
    return config


def _grown_level(state: dict[str, torch.Tensor], level: int, new: torch.Tensor) -> dict[str, torch.Tensor]:
    """The level's tensors with the new rows, by name."""
    book, rate = f"codebooks.{level}.", f"rate_model.levels.{level}."
    old, counts = state[f"{book}embedding.weight"], state[f"{book}counts"]
    least = counts.min().expand(len(new))
    added = {"embedding.weight": new, "counts": least, "sums": new * least[:, None]}
    grown = {book + name: torch.cat([state[book + name], tensor]) for name, tensor in added.items()}
    near = nearest(new, old)  # (n,)
    for name, offset in (("bias", -1.0), ("out.weight", 0.0), ("out.bias", 0.0)):
        if (table := state.get(rate + name)) is not None:
            bit = offset * torch.log(torch.tensor(2.0))
            grown[rate + name] = torch.cat([table, table[near] + bit])
    return grown
