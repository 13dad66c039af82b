"""The card of a dataset of codes: what is in it, who made it, what was left out, and how to open it."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from PIL import Image

from ..hub.card import card_text, markdown_table
from ..hub.card_facts import CardFacts
from .codes_location import CodesLocation
from .codes_manifest import CodesManifest
from .codes_stream import CodesStream
from .image_processor import to_images
from .interface import TokenizesImages
from .pictures import picture_grid
from .reconstructions import decode_prefixes
from .tokenizer_card import levels_table, raw_bits

PICTURE_NAME = "examples.png"

_NUM_EXAMPLES = 6
_NUM_LOOKED_AT = 240
_NUM_FAILURES = 5

_BODY = """\
# {title}

Pictures as discrete codes of an image tokenizer, one row each. {cost}
{picture}
{splits}

{levels}

Columns: `key`, the picture's name in its source; `view`, 0 for the picture as it is; `codes_0`, ... in raster order,
coarse to fine; `height` and `width` of the original, pixels; `caption`; and what the source had beside them.

## Use

Any program that reads parquet opens it:

```python
from datasets import load_dataset

rows = load_dataset("{repo_id}", split="{split}")
```

With pictogram, codes come as grids and fingerprints are compared:

```python
{code}
```

## How it was made

{origin}

`pictogram.json` says it all.
{failures}"""


def codes_card(
    manifest: CodesManifest, repo_id: str, facts: CardFacts | None = None, *, has_picture: bool = False
) -> str:
    """Writes the card.

    Args:
        manifest: how the codes were made; `tokenizer_id` is a name on the Hub or None.
        repo_id: owner/name that the dataset will have.
        facts: its license, that of the pictures, and the datasets that it was made from.
        has_picture: whether `PICTURE_NAME` goes along.
    """
    body = _BODY.format(
        title=repo_id.split("/")[-1],
        repo_id=repo_id,
        cost=_cost(manifest),
        picture=f"\n![pictures decoded from the first levels]({PICTURE_NAME})\n" if has_picture else "",
        splits=_splits(manifest),
        levels=_levels(manifest),
        split=next(iter(manifest.splits)),
        code=_code(manifest, repo_id),
        origin=_origin(manifest),
        failures=_failures(manifest),
    )
    return card_text(_metadata(manifest, facts or CardFacts()), body)


def example_pictures(location: CodesLocation, model: TokenizesImages) -> Image.Image | None:
    """Some rows of the first split, decoded from the first level, the first two, ...; None if nothing decodes.

    A line a row. The originals are not in a dataset of codes.
    """
    stream = CodesStream(location, next(iter(location.manifest.splits)))
    rows = list(itertools.islice(stream, _NUM_LOOKED_AT))
    lines, header = [], []
    for row in rows[:: max(1, -(-len(rows) // _NUM_EXAMPLES))]:  # neighbours are often alike
        codes = tuple(level[None].to(model.device) for level in row.codes)
        decoded = decode_prefixes(model, codes)
        counts = itertools.accumulate(level.numel() for level in row.codes)
        header = [_count(count) for count, pixels in zip(counts, decoded, strict=True) if pixels is not None]
        lines.append([to_images(pixels)[0] for pixels in decoded if pixels is not None])
    if not header:
        return None
    return picture_grid(lines, header=header if location.manifest.grids is not None else None)


def _metadata(manifest: CodesManifest, facts: CardFacts) -> dict[str, Any]:
    """With the files of every split by name, so that no other file in the repository counts as data."""
    files = [
        {"split": name, "path": f"data/{name}-*-of-{split.num_shards:05d}.parquet"}
        for name, split in manifest.splits.items()
    ]
    return {
        "tags": ["pictogram", "image-tokenizer", "image-codes"],
        "size_categories": [size_category(sum(split.rows for split in manifest.splits.values()))],
        "configs": [{"config_name": "default", "data_files": files}],
        **_facts(facts),
    }


def _facts(facts: CardFacts) -> dict[str, Any]:
    """The Hub's words: what a dataset was made from are its sources."""
    known = facts.metadata()
    sources = known.pop("datasets", None)
    return known | ({"source_datasets": sources} if sources else {})


def size_category(rows: int) -> str:
    """The Hub's name for a number of rows.

    Example:
        >>> size_category(999), size_category(1000), size_category(2_500_000)
        ('n<1K', '1K<n<10K', '1M<n<10M')
    """
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
    place = max(0, len(str(rows)) - 3)  # 0 below a thousand
    if place == 0:
        return f"n<{names[0]}"
    return f"{names[place - 1]}<n<{names[place]}" if place < len(names) else f"n>{names[-1]}"


def _cost(manifest: CodesManifest) -> str:
    if manifest.grids is None:
        return "Pictures kept their own sizes, so every row has grids of its own, `grid_0`, ... (rows, columns)."
    count = sum(math.prod(grid) for grid in manifest.grids)
    bits = raw_bits(manifest.grids, manifest.codebook_sizes)
    return f"A picture is {_count(count)}, {bits:.1f} bits without an entropy coder."


def _count(count: int) -> str:
    return f"{count} code{'s' if count > 1 else ''}"


def _splits(manifest: CodesManifest) -> str:
    rows = [
        [name, split.rows, split.input_rows, len(split.failures), split.num_shards]
        for name, split in manifest.splits.items()
    ]
    return markdown_table(["split", "rows", "pictures in the source", "left out", "files"], rows)


def _levels(manifest: CodesManifest) -> str:
    if manifest.grids is not None:
        return levels_table(manifest.strides, manifest.grids, manifest.codebook_sizes)
    rows = [[level, *both] for level, both in enumerate(zip(manifest.strides, manifest.codebook_sizes, strict=True))]
    return markdown_table(["level", "pixels a code", "codebook size"], rows)


def _code(manifest: CodesManifest, repo_id: str) -> str:
    split = next(iter(manifest.splits))
    if manifest.tokenizer_id is None:
        return (
            "from pictogram import load_codes\n\n"
            f'codes = load_codes("{repo_id}", "{split}")\n'
            "levels = codes.codes(range(1))  # one (1, rows, columns) tensor per level"
        )
    revision = f', revision="{manifest.tokenizer_revision}"' if manifest.tokenizer_revision else ""
    return (
        "from pictogram import load_codes, load_image_tokenizer\n\n"
        f'tokenizer = load_image_tokenizer("{manifest.tokenizer_id}"{revision})\n'
        f'codes = load_codes("{repo_id}", "{split}", tokenizer=tokenizer)\n'
        "levels = codes.codes(range(1))  # one (1, rows, columns) tensor per level\n"
        "picture = codes.decode(range(1), tokenizer)[0]"
    )


def _origin(manifest: CodesManifest) -> str:
    revision = f" at `{manifest.tokenizer_revision}`" if manifest.tokenizer_revision else ""
    name = "not on the Hub" if manifest.tokenizer_id is None else f"`{manifest.tokenizer_id}`{revision}"
    rows = [
        ["image tokenizer", name],
        ["fingerprint of codes", f"`{manifest.codes_fingerprint}`"],
        ["fingerprint of decoder", f"`{manifest.decoder_fingerprint}`"],
        ["preprocessing", f"`{json.dumps(manifest.preprocessing)}`"],
        ["number type while encoding", manifest.encoding_dtype],
        ["versions", ", ".join(f"{library} {version}" for library, version in manifest.versions.items())],
    ]
    return markdown_table(["what", "which"], rows)


def _failures(manifest: CodesManifest) -> str:
    """The first pictures that were left out, and why; empty if none was."""
    failures = [(name, entry) for name, split in manifest.splits.items() for entry in split.failures]
    if not failures:
        return ""
    first = [[name, f"`{entry['key']}`", entry["reason"]] for name, entry in failures[:_NUM_FAILURES]]
    more = len(failures) - len(first)
    rest = f"\n\nAnd {more} more." if more else ""
    return f"\n## Left out\n\n{markdown_table(['split', 'picture', 'reason'], first)}{rest}\n"
