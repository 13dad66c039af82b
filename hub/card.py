"""Model cards: a README.md whose figures are measured, not typed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from .files import atomic_write_text

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

| figure | value |
|---|---|
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
        figures="\n".join(f"| {name} | {value} |" for name, value in figures.items()),
    )
    atomic_write_text(Path(directory) / "README.md", card)
