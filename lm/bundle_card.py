"""The card of a bundle: what it is made of, what was measured, and how to use it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ..hub.card import card_text, markdown_table, write_draft_card
from ..hub.card_facts import CardFacts, draft_metadata
from ..hub.card_figures import CardFigures, figures_section, limits_section, model_index
from ..hub.card_training import training_section
from ..hub.provenance import Provenance
from ..hub.shipped import SHIPPED_MODELS
from ..tokenizer.tokenizer_card import levels_table, raw_bits
from .bundle import Bundle
from .bundle_figures import bundle_figures
from .order import Grids

PICTURE_NAME = "samples.png"

_BODY = """\
# {title}

A stock `{architecture}` of {num_parameters:,} parameters that reads and writes words and pictures in one vocabulary,
with the image tokenizer that turns pictures into its codes and back.
{picture}
## Use

```python
from pictogram import TextToImagePipeline

draw = TextToImagePipeline.from_pretrained("{name}")
draw({prompt}, num_images=4, seed=0).save("picture.png")
```

`ImageToTextPipeline` describes pictures. The prior and its tokenizer load without pictogram, and `vocabulary.json` says
which ids are legal where:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
{place}
prior = AutoModelForCausalLM.from_pretrained({folder})
tokenizer = AutoTokenizer.from_pretrained({folder})
```
{figures}{training}{limits}
## Vocabulary

{vocabulary}

{sizes}

## Image tokenizer

{image_tokenizer}

Datasets of codes with this fingerprint of codes are in the prior's language; all others are refused.
"""

_PLACE = "from pictogram.hub.shipped import local_folder\n"


def bundle_card(
    bundle: Bundle,
    repo_id: str | None,
    *,
    folder: Path | None = None,
    facts: CardFacts | None = None,
    prompt: str = "",
    has_picture: bool = False,
) -> str:
    """Writes the card.

    Args:
        bundle: what it is about.
        repo_id: owner/name that it will have, or the name of a shipped model; None for a folder.
        folder: where figures and provenance may lie, see `bundle_figures`.
        facts: licenses and datasets.
        prompt: for the example, a caption that the prior was trained on; the empty one asks for any picture.
        has_picture: whether `PICTURE_NAME` goes along.

    Raises:
        InputError: see `bundle_figures`.
    """
    vocabulary, facts = bundle.vocabulary, facts or CardFacts()
    figures = bundle_figures(folder, bundle) if folder else CardFigures()
    provenance = Provenance.load(folder) if folder else bundle.checked_provenance()
    if folder and provenance:
        provenance.check(str(folder), {"bundle": bundle.fingerprint})
    is_shipped = repo_id in SHIPPED_MODELS  # whose name means nothing to transformers
    title = "A pictogram bundle" if repo_id is None else repo_id.split("/")[-1]
    body = _BODY.format(
        title=title,
        name=repo_id or "path/of/this/folder",
        place=_PLACE if is_shipped else "",
        folder=f'local_folder("{repo_id}")' if is_shipped else f'"{repo_id or "path/of/this/folder"}"',
        architecture=type(bundle.prior).__name__,
        num_parameters=bundle.prior.num_parameters(),
        prompt=json.dumps(prompt, ensure_ascii=False),
        picture=f"\n![pictures that it drew]({PICTURE_NAME})\n" if has_picture else "",
        figures=figures_section(figures),
        training=training_section(provenance, facts),
        limits=limits_section([_learned(bundle, provenance), *figures.limits]),
        vocabulary=_vocabulary(bundle),
        sizes="\n\n".join(_size(bundle, name, grids) for name, grids in vocabulary.sizes.items()),
        image_tokenizer=_image_tokenizer(bundle),
    )
    metadata: dict[str, Any] = {
        "library_name": "pictogram",
        "pipeline_tag": "text-to-image",
        "tags": ["pictogram", "image-tokenizer", "text-to-image", "image-to-text"],
        **facts.metadata(),
        **model_index(title, figures.index),
    }
    if prompt:
        metadata["widget"] = [{"text": prompt}]
    return card_text(metadata, body)


def write_bundle_card(
    bundle: Bundle, folder: Path, *, prompt: str, name: str | None = None, facts: CardFacts | None = None
) -> None:
    """Writes `README.md` beside a bundle's files, from the figures and the picture that lie there.

    Args:
        bundle: what lies in the folder.
        folder: of the bundle.
        prompt: a caption that the prior was trained on.
        name: see `bundle_card`.
        facts: licenses and datasets.

    Raises:
        InputError: see `bundle_card`.
    """
    has_picture = (folder / PICTURE_NAME).is_file()
    card = bundle_card(bundle, name, folder=folder, facts=facts, prompt=prompt, has_picture=has_picture)
    write_draft_card(folder, card)


def drafted_prompt(folder: Path) -> str:
    """The prompt of the card that `write_bundle_card` wrote there; empty if there is none."""
    widget = draft_metadata(folder).get("widget")
    return widget[0]["text"] if widget else ""


def _learned(bundle: Bundle, provenance: Provenance | None) -> str:
    """What it was made for."""
    size = bundle.image_processor.size
    pixels = f"{size['height']}x{size['width']} pixels" if bundle.image_processor.do_resize else "several sizes"
    examples = provenance.examples[:3] if provenance else []
    words = ", ".join(json.dumps(caption, ensure_ascii=False) for caption in examples)
    captions = f", and words like those it learned, such as {words}" if words else " and the words that it learned"
    return f"It knows pictures of {pixels} of the kind that it learned{captions}. Other words draw something else."


def _vocabulary(bundle: Bundle) -> str:
    vocabulary = bundle.vocabulary
    rows = [
        ["ids", vocabulary.vocab_size],
        ["of text", len(vocabulary.text_range)],
        ["of controls", ", ".join(f"`{token}`" for token in vocabulary.control_ids)],
        ["of codes", " + ".join(map(str, vocabulary.codebook_sizes))],
        ["order of codes", vocabulary.order],
        ["context, tokens", bundle.prior.config.max_position_embeddings],
    ]
    return markdown_table(["what", "how many"], rows)


def _size(bundle: Bundle, name: str, grids: Grids) -> str:
    sizes = bundle.vocabulary.codebook_sizes
    count, bits = sum(math.prod(grid) for grid in grids), raw_bits(grids, sizes)
    levels = levels_table(bundle.image_tokenizer.config.strides, grids, sizes)
    return f"A picture of size `{name}` is {count} codes, {bits:.1f} bits without any model:\n\n{levels}"


def _image_tokenizer(bundle: Bundle) -> str:
    rows = [
        ["class", f"`{type(bundle.image_tokenizer).__name__}`"],
        ["fingerprint of codes", f"`{bundle.vocabulary.codes_fingerprint}`"],
        ["fingerprint of decoder", f"`{bundle.vocabulary.decoder_fingerprint}`"],
    ]
    return markdown_table(["what", "which"], rows)
