"""Cards: a README.md whose figures are measured, not typed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import atomic_write_text
from .repository import is_hub_name
from .staging import stage

CARD_NAME = "README.md"

_BUNDLE_CARD = """\
---
library_name: transformers
pipeline_tag: text-to-image
tags:
- pictogram
- image-tokenizer
- text-to-image
---

# A pictogram bundle

A stock `{architecture}` over one vocabulary of text pieces and image codes, with the image tokenizer that draws its
codes.
{picture}
## Use

```python
from pictogram import TextToImagePipeline

pipeline = TextToImagePipeline.from_pretrained("path/of/this/folder")
pipeline({prompt}, num_images=4, seed=0).images[0].save("picture.png")
```

`AutoModelForCausalLM` and `AutoTokenizer` load the prior without pictogram; `vocabulary.json` says which ids are legal
where.

## Figures

{figures}
"""


def write_bundle_card(
    directory: str | os.PathLike[str],
    *,
    architecture: str,
    prompt: str,
    figures: Mapping[str, str],
    has_picture: bool = False,
) -> None:
    """Writes `README.md` into a bundle.

    Args:
        directory: the bundle.
        architecture: class name of the prior.
        prompt: a caption that the prior was trained on.
        figures: what was measured, ready to print.
        has_picture: whether `samples.png` lies beside the card.
    """
    card = _BUNDLE_CARD.format(
        architecture=architecture,
        prompt=json.dumps(prompt, ensure_ascii=False),
        picture="\n![samples](samples.png)\n" if has_picture else "",
        figures=markdown_table(["figure", "value"], list(figures.items())),
    )
    atomic_write_text(Path(directory) / CARD_NAME, card)


def card_text(metadata: Mapping[str, Any], body: str) -> str:
    """A card: metadata as the YAML that the Hub reads, then Markdown.

    Args:
        metadata: JSON-serialisable, in this order.
        body: Markdown.
    """
    from huggingface_hub import CardData

    return f"---\n{CardData(**metadata).to_yaml()}\n---\n\n{body.strip()}\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""A table whose cells may hold anything.

    Example:
        >>> print(markdown_table(["file", "why"], [["a|b.png", "no\npicture"]]))
        | file | why |
        |---|---|
        | a\|b.png | no picture |
    """
    lines = [f"| {' | '.join(map(_cell, cells))} |" for cells in (header, *rows)]
    lines.insert(1, "|" + "---|" * len(header))
    return "\n".join(lines)


def stage_card(folder: Path, staging: Path, write: Callable[[], str]) -> None:
    """Puts the folder's own README.md into a staging folder, or else the card that `write` makes."""
    own = folder / CARD_NAME
    if own.is_file():
        stage(own, staging / CARD_NAME)
    else:
        atomic_write_text(staging / CARD_NAME, write())


def public_name(name: str) -> str:
    """A name for other people: one on the Hub as it is, of a path the last part, since the rest is this machine's.

    Example:
        >>> public_name("owner/name"), public_name("/home/me/photos/")
        ('owner/name', 'photos')
    """
    return name if is_hub_name(name) else Path(name).name


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", r"\|")
