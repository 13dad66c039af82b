"""Looking at a folder of codes: is it whole, how far is it, what do its rows look like?"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..tokenizer.codes_check import check_codes
from ..tokenizer.codes_dataset import load_codes
from ..tokenizer.codes_manifest import CodesManifest
from ..tokenizer.image_processor import to_images
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.pictures import picture_grid, save_picture
from ..tokenizer.progress import progress_bar
from ..tokenizer.reconstructions import decode_prefixes

_SHOWN = 8


def run_check(folder: str, model: str, picture: str) -> dict[str, Any]:
    """Checks a folder, and draws some of its rows if `picture` names a file.

    Raises:
        InputError: no folder of codes; or the tokenizer that should draw is another one.
    """
    manifest = CodesManifest.load(Path(folder))
    num_shards = sum(split.num_shards for split in manifest.splits.values())
    with progress_bar("check", num_shards) as advance:
        check = check_codes(folder, advance)
    if picture and not check.problems:
        draw_rows(folder, next(iter(manifest.splits)), model, picture)
    return {"codes": folder, **asdict(check), **({"picture": picture} if picture and not check.problems else {})}


def draw_rows(folder: str, split: str, model: str, picture: str) -> None:
    """Decodes the first rows of a split from every prefix of levels, one column each, into a titled PNG.

    Raises:
        InputError: the tokenizer is not the one that made the codes.
    """
    loaded = load_image_tokenizer(model)
    codes = load_codes(folder, split, tokenizer=loaded.model, processor=loaded.processor)
    rows = range(min(_SHOWN, len(codes)))
    prefixes = decode_prefixes(loaded.model, codes.codes(rows))
    lines = [to_images(pixels) for pixels in prefixes if pixels is not None]
    captions = [codes.captions(row)[0] for row in rows]
    save_picture(picture_grid(lines, titles=[captions] + [[""] * len(rows)] * (len(lines) - 1)), picture)


def spell_status(status: dict[str, Any]) -> str:
    """One line for people."""
    rows = f" of {status['input_rows']}" if status["input_rows"] is not None else ""
    parts = [
        f"{status['done']} of {status['num_shards']} shards done, {status['running']} running",
        f"{status['pictures']}{rows} pictures, {status['failed']} failed",
    ]
    if status["workers"] or status["lost_workers"]:
        lost = f", {status['lost_workers']} lost" if status["lost_workers"] else ""
        parts.append(f"{status['workers']} workers{lost}, {status['pictures_per_second']:.1f} pictures/s")
    if status["seconds_left"] is not None:
        parts.append(f"about {status['seconds_left'] / 60:.1f} min left")
    if status["damaged"]:
        parts.append(f"{len(status['damaged'])} damaged files, to be made again")
    return "; ".join(["complete" if status["is_complete"] else "in the making", *parts])
