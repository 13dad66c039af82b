"""An atlas of the symbols of an image tokenizer: what each decodes to, where it was seen, what it is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..hub.errors import InputError
from ..lm.bundle import Bundle, holds_bundle
from ..lm.symbol_chances import SymbolChances, symbol_chances
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.images import ClassLabels
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.model import ImageTokenizer
from ..tokenizer.pixel_dataset import PixelDataset
from ..tokenizer.progress import progress_bar
from ..tokenizer.symbol_survey import LevelSurvey, label_entropies, survey_symbols
from ..tokenizer.symbol_words import informative_words, words_of
from .atlas_page import check_page_folder, sheets, write_page
from .atlas_tiles import AtlasPictures
from .bundle_pipeline import check_positive
from .picture_sample import picture_sample

_NUM_NEIGHBOURS = 6
_NUM_NAMES = 6
"""Words and classes of a symbol."""
_MOST_TEXTS = 200
"""Texts that the prior is asked about."""


@dataclass(frozen=True)
class AtlasSettings:
    """What an atlas is made of.

    Attributes:
        model: an image tokenizer, or a bundle, whose prior then says words, too.
        data: the pictures, see `load_image_source`.
        split: of them.
        max_images: most pictures, drawn by the seed.
        max_symbols: most symbols of a level, the most used ones.
        num_examples: nearest pictures of a symbol.
        num_swaps: symbols that take its place.
        seed: of the draw.
    """

    model: str
    data: str
    split: str = "train"
    max_images: int = 10_000
    max_symbols: int = 1024
    num_examples: int = 8
    num_swaps: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("max_images", "max_symbols", "num_examples", "num_swaps"):
            check_positive(name, getattr(self, name))
        for name, most in (("max_symbols", 16_384), ("num_examples", 128), ("num_swaps", 64)):  # what one picture holds
            if getattr(self, name) > most:
                raise InputError(f"{name} must be at most {most}, got {getattr(self, name)}")


def symbol_atlas(settings: AtlasSettings, output: Path) -> dict[str, Any]:
    """Makes an atlas and writes its page.

    Returns:
        `page`, its path; `num_images`; `levels`: codes and codes in use of each; `failures`, pictures that cannot be
        read.

    Raises:
        InputError: another system's tokenizer, or missing or damaged pictures.
    """
    check_page_folder(output)
    opened = _open(settings.model)
    sample = picture_sample(settings.data, settings.split, opened.processor, settings.max_images, settings.seed)
    with progress_bar("survey", len(sample.dataset)) as advance:
        surveys = survey_symbols(opened.model, sample.dataset, progress=advance)
    atlas = build_atlas(settings, opened, sample.dataset, surveys)
    levels = [{"codes": level["codebook_size"], "used": level["used"]} for level in atlas["levels"]]
    return {
        "page": str(write_page(atlas, output)),
        "num_images": len(sample.dataset),
        "levels": levels,
        "failures": sample.listed,
    }


@dataclass(frozen=True)
class _Opened:
    model: ImageTokenizer
    processor: ImageTokenizerImageProcessorPil
    bundle: Bundle | None


def _open(name: str) -> _Opened:
    """An image tokenizer, with the bundle that it is of if there is one."""
    if holds_bundle(name):
        bundle = Bundle.from_pretrained(name)
        model, processor = bundle.image_tokenizer, bundle.image_processor
    else:
        bundle, loaded = None, load_image_tokenizer(name)
        model, processor = loaded.model, loaded.processor
    if not isinstance(model, ImageTokenizer):
        raise InputError(f"{name} is another system's tokenizer; an atlas needs the latents of one of pictogram's own")
    return _Opened(model, processor, bundle)


def build_atlas(
    settings: AtlasSettings, opened: _Opened, dataset: PixelDataset, surveys: Sequence[LevelSurvey]
) -> dict[str, Any]:
    """What the page shows: `title`, `about`, `class_column`, and one entry in `levels` a level."""
    source = dataset.source
    labels = source.class_labels()
    captions = [source.captions(row) for row in range(len(source))]
    said = None if opened.bundle is None else _said(opened.bundle, dataset, captions)
    pictures = AtlasPictures(opened.model, dataset, surveys)
    return {
        "title": f"Symbols of {settings.model}",
        "about": (
            f"{len(source)} pictures of {settings.data}, split {settings.split}. Classes and captions only describe "
            "the symbols; the tokenizer has seen neither."
        ),
        "class_column": "" if labels is None else labels.column,
        "levels": [
            _level(settings, pictures, level, _words(captions, surveys[level]), said if level == 0 else None, labels)
            for level in range(len(surveys))
        ],
    }


Names = list[list[tuple[str, float]]]
"""Words with what they tell in bits, for each symbol."""


def _words(captions: Sequence[Sequence[str]], survey: LevelSurvey) -> Names:
    found = informative_words(captions, survey.presence(), most=_NUM_NAMES)
    return [[(word.word, round(word.bits, 4)) for word in words] for words in found]


def _said(bundle: Bundle, dataset: PixelDataset, captions: Sequence[Sequence[str]]) -> SymbolChances | None:
    """What the prior expects behind captions, or behind words where there are too many captions."""
    grids = bundle.image_tokenizer.config.grids(*dataset[0].shape[-2:])
    if grids[0] != (1, 1):
        return None
    texts = Counter(text for each in captions for text in each if text)
    if len(texts) > _MOST_TEXTS:
        texts = Counter(word for each in captions for word in words_of(" ".join(each)))
    wanted = [text for text, _ in texts.most_common(_MOST_TEXTS) if bundle.text_tokenizer.encode(text)]
    with progress_bar("words", len(wanted)) as advance:
        return symbol_chances(bundle, wanted, bundle.vocabulary.size_of(grids), advance) if wanted else None


def _level(
    settings: AtlasSettings,
    pictures: AtlasPictures,
    level: int,
    words: Names,
    said: SymbolChances | None,
    labels: ClassLabels | None,
) -> dict[str, Any]:
    survey, grid = pictures.surveys[level], pictures.grids[level]
    counts = survey.counts
    shown = sorted(counts.argsort(descending=True, stable=True)[: settings.max_symbols].tolist())
    vectors = pictures.model.code_vectors(level).cpu()
    examples = survey.examples(settings.num_examples)
    describe = _describer(survey, counts, words, said, labels, vectors, shown)
    tiles, symbols = [], []
    with progress_bar(f"level {level}", len(shown)) as advance:
        for symbol in shown:
            entry = describe(symbol)
            others = [other for other, _ in entry["neighbours"]][: settings.num_swaps]
            drawn = pictures.tiles(level, symbol, examples[symbol], others)
            rows = [row for row in examples[symbol, :, 0].tolist() if row >= 0]
            entry["keys"] = [pictures.dataset.source.key(row) for row in rows]
            entry["swaps"] = [[other, round(change, 2)] for other, change in zip(others, drawn.changes, strict=False)]
            tiles.append(drawn)
            symbols.append(entry)
            advance(1)
    return {
        "name": f"level {level}: " + ("whole image" if grid == (1, 1) else f"{grid[0]}x{grid[1]}"),
        "codebook_size": survey.codebook_size,
        "used": int((counts > 0).sum()),
        "uses": int(counts.sum()),
        "symbols": symbols,
        **sheets(tiles, settings.num_examples, settings.num_swaps),
    }


def _describer(
    survey: LevelSurvey,
    counts: torch.Tensor,
    words: Names,
    said: SymbolChances | None,
    labels: ClassLabels | None,
    vectors: torch.Tensor,
    shown: Sequence[int],
) -> Callable[[int], dict[str, Any]]:
    """Figures of one symbol after the other."""
    total, errors = int(counts.sum()), survey.mean_errors
    table = None if labels is None else survey.label_counts(labels)
    doubts = [None] * survey.codebook_size if table is None else label_entropies(table)
    used = torch.tensor([code for code in shown if counts[code]], dtype=torch.int64)

    def describe(symbol: int) -> dict[str, Any]:
        doubt = doubts[symbol]
        return {
            "number": symbol,
            "uses": int(counts[symbol]),
            "share": int(counts[symbol]) / total,
            "error": float(errors[symbol]) if counts[symbol] else None,
            "class_bits": None if doubt is None else round(doubt, 4),
            "classes": [] if table is None or labels is None else _classes(table[symbol], labels.names),
            "words": words[symbol],
            "said": [] if said is None else _best_texts(said, symbol),
            "neighbours": _neighbours(vectors, used, symbol),
        }

    return describe


def _classes(counts: torch.Tensor, names: Sequence[str]) -> list[list[Any]]:
    """The most frequent classes and their shares."""
    values, places = counts.topk(min(_NUM_NAMES, len(names)))
    total = int(counts.sum())
    pairs = zip(values.tolist(), places.tolist(), strict=True)
    return [[names[place], round(value / total, 4)] for value, place in pairs if value]


def _best_texts(said: SymbolChances, symbol: int) -> list[list[Any]]:
    """The texts that ask most strongly for a symbol."""
    values, places = said.bits[:, symbol].topk(min(_NUM_NAMES, len(said.texts)))
    pairs = zip(values.tolist(), places.tolist(), strict=True)
    return [[said.texts[place], round(value, 4)] for value, place in pairs if value > 0]


def _neighbours(vectors: torch.Tensor, used: torch.Tensor, symbol: int) -> list[tuple[int, float]]:
    """Codes in use with the nearest vectors, nearest first."""
    others = used[used != symbol]
    distances = (vectors[others].double() - vectors[symbol].double()).square().sum(1).sqrt()
    values, places = distances.topk(min(_NUM_NEIGHBOURS, len(others)), largest=False)
    return [(int(others[place]), round(value, 4)) for value, place in zip(values.tolist(), places, strict=True)]
