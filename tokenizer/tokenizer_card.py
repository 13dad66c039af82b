"""The card of an image tokenizer: levels, fingerprints, figures, and how to use it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from ..hub.card import card_text, markdown_table
from ..hub.card_facts import CardFacts
from ..hub.card_figures import CardFigures, figures_section, limits_section, model_index
from ..hub.card_training import training_section
from .fingerprints import decoder_fingerprint
from .loading import LoadedImageTokenizer
from .reconstructions import decode_prefixes
from .tokenizer_figures import tokenizer_figures

PICTURE_NAME = "reconstructions.png"

_DECODE = "pixels = loaded.model.decode(codes)  # (1, channels, height, width) in [-1, 1]\n"

_BODY = """\
# {title}

An image tokenizer: a picture becomes {num_codes} codes, {bits:.1f} bits without an entropy coder{decoding}
{picture}
{levels}

## Use

```python
from PIL import Image
from pictogram import load_image_tokenizer

loaded = load_image_tokenizer("{repo_id}")
pixel_values = loaded.processor(Image.open("picture.png"), return_tensors="pt")["pixel_values"]
codes = loaded.model.encode(pixel_values)  # one (1, rows, columns) tensor per level
{decode}```

`ImageTokenizer.from_pretrained` loads the model alone, and so does `AutoModel.from_pretrained` after
`import pictogram.tokenizer`. `pictogram tokenize --model {repo_id}` makes datasets of codes.
{figures}{training}{limits}
## Fingerprints

{fingerprints}

Equal fingerprints of codes mean equal codes for equal pictures; of decoders, equal pictures for equal codes.
"""


def tokenizer_card(
    loaded: LoadedImageTokenizer,
    repo_id: str | None,
    *,
    folder: Path | None = None,
    facts: CardFacts | None = None,
    has_picture: bool = False,
) -> str:
    """Writes the card.

    Args:
        loaded: the tokenizer.
        repo_id: owner/name that it will have; None for a folder.
        folder: where figures may lie, see `tokenizer_figures`.
        facts: licenses and datasets.
        has_picture: whether `PICTURE_NAME` goes along.

    Raises:
        InputError: the figures are another tokenizer's, or cannot be read.
    """
    config, grids, facts = loaded.model.config, _grids(loaded), facts or CardFacts()
    figures = tokenizer_figures(folder, loaded, grids) if folder else CardFigures()
    title = "An image tokenizer" if repo_id is None else repo_id.split("/")[-1]
    decodes = _decodes(loaded, grids)
    sizes = list(config.codebook_sizes)
    fingerprints = [["codes", f"`{loaded.codes_fingerprint}`"], ["decoder", f"`{decoder_fingerprint(loaded.model)}`"]]
    body = _BODY.format(
        title=title,
        repo_id=repo_id or "path/of/this/folder",
        num_codes=sum(math.prod(grid) for grid in grids),
        bits=raw_bits(grids, sizes),
        decoding=_decoding(decodes),
        decode=_DECODE if decodes[-1] else "",
        picture=f"\n![pictures beside their decodings]({PICTURE_NAME})\n" if has_picture else "",
        levels=levels_table(config.strides, grids, sizes),
        figures=figures_section(figures),
        training=training_section(loaded.provenance, facts),
        limits=limits_section([_learned(loaded), *figures.limits]),
        fingerprints=markdown_table(["of", "sha256"], fingerprints),
    )
    metadata = {
        "library_name": "pictogram",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["pictogram", "image-tokenizer"],
        **facts.metadata(),
        **model_index(title, figures.index),
    }
    return card_text(metadata, body)


def levels_table(strides: Sequence[int | str], grids: Sequence[Sequence[int]], sizes: Sequence[int]) -> str:
    """A line for each level of a picture: where its codes stand, how many, and what they cost without any model."""
    rows = []
    for level, (stride, (height, width), size) in enumerate(zip(strides, grids, sizes, strict=True)):
        pixels = "whole picture" if stride == "image" else f"{stride}x{stride} pixels"
        count = height * width
        rows.append([level, pixels, f"{height}x{width}", count, size, f"{count * math.log2(size):.1f}"])
    return markdown_table(["level", "one code for", "grid", "codes", "codebook size", "bits"], rows)


def raw_bits(grids: Sequence[Sequence[int]], sizes: Sequence[int]) -> float:
    """Bits of a picture's codes without any model: log2 K each.

    Example:
        >>> raw_bits([(1, 1), (2, 2)], [256, 16])
        24.0
    """
    return math.fsum(math.prod(grid) * math.log2(size) for grid, size in zip(grids, sizes, strict=True))


def _grids(loaded: LoadedImageTokenizer) -> tuple[tuple[int, int], ...]:
    """Of the pictures that the processor makes; of square ones where it leaves their sizes alone."""
    config, processor = loaded.model.config, loaded.processor
    if processor.do_resize:
        return config.grids(processor.size["height"], processor.size["width"])
    return config.grids(config.image_size, config.image_size)


def _decodes(loaded: LoadedImageTokenizer, grids: Sequence[Sequence[int]]) -> list[bool]:
    """Whether the first level decodes, the first two, ...: found out, for not every tokenizer has a decoder."""
    codes = tuple(torch.zeros(1, *grid, dtype=torch.int64, device=loaded.model.device) for grid in grids)
    return [pixels is not None for pixels in decode_prefixes(loaded.model, codes)]


def _decoding(decodes: list[bool]) -> str:
    if not decodes[-1]:
        return ". It has no decoder."
    prefixes = " Levels run from coarse to fine, and any number of first ones decodes."
    return f", and these a picture again.{prefixes if len(decodes) > 1 and all(decodes) else ''}"


def _learned(loaded: LoadedImageTokenizer) -> str:
    """What it was made for."""
    config, processor = loaded.model.config, loaded.processor
    size = processor.size
    pixels = f"{size['height']}x{size['width']} pixels" if processor.do_resize else "any size that its strides divide"
    colours = "grey" if config.num_channels == 1 else "colour"
    return f"It was made for {colours} pictures of {pixels}, of the kind that it learned; others come back worse."
