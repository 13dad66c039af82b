"""Whether a tokenizer really descends from another: what the ancestor was is cut out of it and compared.

A configuration that lists ancestors only claims them: whoever trains the tokenizer on keeps the list. So a claim counts
when the first rows of every codebook, with the encoder or the decoder as they are now, have the ancestor's fingerprint.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from .ancestors import Ancestor, read_ancestors
from .codes_location import check_fingerprint
from .codes_manifest import CodesManifest
from .config import ImageTokenizerConfig
from .fingerprints import codes_fingerprint
from .interface import TokenizesImages
from .loading import LoadedImageTokenizer
from .model import ImageTokenizer

_ROWS = re.compile(
    r"codebooks\.(\d+)\.(?:embedding\.weight|counts|sums)|rate_model\.levels\.(\d+)\.(?:bias|out\.weight|out\.bias)"
)
"""Tensors with one row for each code of a level."""


def ancestors_of(model: TokenizesImages) -> list[Ancestor]:
    """The ancestors that a tokenizer claims, oldest first; other people's tokenizers have none."""
    config = model.config
    if not isinstance(config, ImageTokenizerConfig):
        return []
    return read_ancestors(config.ancestors or [], config.codebook_sizes)


def ancestor_tokenizer(model: ImageTokenizer, codebook_sizes: Sequence[int]) -> ImageTokenizer:
    """The tokenizer with the first codes of every level alone; what it was before it grew, if nothing else changed.

    Args:
        model: stays as it is.
        codebook_sizes: codes that are left per level, coarse to fine; at most those there are.

    Returns:
        In evaluation mode, on the model's device.
    """
    config = copy.deepcopy(model.config)
    older = [each for each in ancestors_of(model) if sum(each.codebook_sizes) < sum(codebook_sizes)]
    config.codebook_sizes, config.ancestors = list(codebook_sizes), [each.to_json() for each in older]
    with torch.random.fork_rng(devices=[]):  # first weights are drawn, and replaced
        cut = ImageTokenizer(config).eval()
    state = model.state_dict()
    for name, tensor in state.items():
        if found := _ROWS.fullmatch(name):
            state[name] = tensor[: codebook_sizes[int(found[1] or found[2])]]
    cut.load_state_dict(state)
    return cut.to(model.device, model.dtype)  # pyright: ignore[reportArgumentType, reportCallIssue]


def makes_codes_of(loaded: LoadedImageTokenizer, fingerprint: str, codebook_sizes: Sequence[int]) -> bool:
    """Whether codes with this fingerprint mean the same to a tokenizer: they are its own, or a true ancestor's.

    Args:
        loaded: the tokenizer.
        fingerprint: the `codes_fingerprint` of the codes.
        codebook_sizes: of the codes, so that none of them is one that came later.
    """
    if fingerprint == loaded.codes_fingerprint:
        return True
    sizes = tuple(codebook_sizes)
    if not any((each.codes_fingerprint, each.codebook_sizes) == (fingerprint, sizes) for each in _claims(loaded)):
        return False
    assert isinstance(loaded.model, ImageTokenizer)
    return codes_fingerprint(ancestor_tokenizer(loaded.model, sizes), loaded.processor) == fingerprint


def check_codes(place: str | Path, manifest: CodesManifest, loaded: LoadedImageTokenizer) -> None:
    """Compares the tokenizer that made a dataset of codes with the one that is to read them.

    Args:
        place: what the dataset is called in messages.
        manifest: of the dataset.
        loaded: the tokenizer; it also reads the codes of its ancestors.

    Raises:
        InputError: the codes are another tokenizer's.
    """
    if not makes_codes_of(loaded, manifest.codes_fingerprint, manifest.codebook_sizes):
        check_fingerprint(place, manifest.codes_fingerprint, loaded.codes_fingerprint)


def _claims(loaded: LoadedImageTokenizer) -> list[Ancestor]:
    return ancestors_of(loaded.model) if isinstance(loaded.model, ImageTokenizer) else []
