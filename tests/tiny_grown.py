"""The tiny chain's image tokenizer with more codes: 6 + 2 and 9 + 3."""

import functools
from pathlib import Path

import torch
from tiny_chain import home, image_tokenizer, pictures, processor

from pictogram.lm.bundle import Bundle
from pictogram.lm.grow import grow_bundle
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.growth import grow_codebooks
from pictogram.tokenizer.loading import LoadedImageTokenizer
from pictogram.tokenizer.model import ImageTokenizer

SIZES = (8, 12)


def grown_model(model: ImageTokenizer | None = None, counts: tuple[int, int] = (2, 3), seed: int = 5) -> ImageTokenizer:
    """New codes near old ones, so that pictures take both."""
    model = model or image_tokenizer()
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for level, count in enumerate(counts):
        old = model.code_vectors(level)
        rows.append(old[:count] + 0.3 * old.std() * torch.randn(count, old.shape[1], generator=generator))
    return grow_codebooks(model, processor(), rows)


def grown_tokenizer() -> LoadedImageTokenizer:
    return LoadedImageTokenizer(grown_model(), processor(), "")


def grown(bundle: Bundle) -> Bundle:
    return grow_bundle(bundle, grown_tokenizer())


@functools.cache
def grown_folder() -> Path:
    folder = home() / "grown-tokenizer"
    grown_model().save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


@functools.cache
def grown_codes_folder() -> Path:
    """Codes of the tiny chain's pictures, by the grown tokenizer."""
    folder = home() / "grown-codes"
    tokenize(TokenizeConfig(data=str(pictures()), model=str(grown_folder()), output=str(folder), rows_per_shard=10))
    return folder
