"""Sets of samples on disk: pictures of known classes in parquet files, drawn shard by shard; a killed run goes on.

Whatever draws pictures of classes writes such a set (a bundle, or another system), and `evaluate samples` reads it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from datasets import ClassLabel, Features, Image, Value
from PIL import Image as PILImage

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes, atomic_write_text, read_json_object, write_json
from ..tokenizer.pictures import png_bytes
from ..tokenizer.progress import progress_bar

MANIFEST_NAME = "samples.json"
TIMES_NAME = "times.jsonl"
"""Seconds of every shard: beside the samples and not in them, since equal samples take other times."""

MOST_SET_SEED = 2**31 - 1
"""Times 2**32 it is still a seed of pictures."""

DrawClasses = Callable[[Sequence[int], Sequence[int]], Sequence[PILImage.Image]]
"""Classes and a seed for each -> a picture of each, which depends on its class and its seed alone."""


@dataclass(frozen=True)
class SampleTimes:
    """What drawing a set took, over all runs that worked on it.

    Attributes:
        num_images: pictures.
        seconds: of the clock.
        cpu_seconds: of the processor, over all threads.
    """

    num_images: int
    seconds: float
    cpu_seconds: float


def balanced_classes(num_images: int, num_classes: int) -> list[int]:
    """The class of every sample: in turns, so that every beginning of the set has them about equally often.

    Example:
        >>> balanced_classes(5, 3)
        [0, 1, 2, 0, 1]
    """
    return [number % num_classes for number in range(num_images)]


def first_seed_of(seed: int) -> int:
    """The seed of the first picture of a set; those of others count up from it, and no two sets share one.

    Raises:
        InputError: the set's seed is below 0 or above `MOST_SET_SEED`.
    """
    if not 0 <= seed <= MOST_SET_SEED:
        raise InputError(f"the seed of a set of samples must be 0 or more and below 2**31, got {seed}")
    return seed << 32


def write_samples(
    folder: Path,
    draw: DrawClasses,
    names: Sequence[str],
    num_images: int,
    *,
    seed: int,
    origin: Mapping[str, Any],
    shard_size: int = 1000,
) -> SampleTimes:
    """Draws a set, or what is missing of it.

    Args:
        folder: for `samples-00000-of-00010.parquet` and so on, with columns `image`, `label` and `seed`.
        draw: makes the pictures of a shard.
        names: of the classes, each of which is drawn as often as the others.
        num_images: pictures in all, at least 1.
        seed: of the set, see `first_seed_of`.
        origin: what the pictures depend on besides, for the manifest; must be JSON.
        shard_size: pictures of a file, at least 1.

    Raises:
        InputError: the folder holds another set, a count is below 1, or the seed is too large.
    """
    if num_images < 1 or shard_size < 1:
        raise InputError(f"num_images and shard_size must be at least 1, got {num_images} and {shard_size}")
    first_seed = first_seed_of(seed)
    manifest = {
        "num_images": num_images,
        "classes": list(names),
        "seed": first_seed,
        "shard_size": shard_size,
        "origin": dict(origin),
        **({"numbers": "philox"} if first_seed else {}),  # those drawn before had the numbers of the seed's lower half
    }
    _claim(folder, manifest)
    classes = balanced_classes(num_images, len(names))
    starts = range(0, num_images, shard_size)
    with progress_bar("samples", num_images) as advance:
        for number, start in enumerate(starts):
            path = folder / f"samples-{number:05d}-of-{len(starts):05d}.parquet"
            part = classes[start : start + shard_size]
            if not path.exists():
                _write_shard(path, draw, names, part, [first_seed + start + place for place in range(len(part))])
            advance(len(part))
    return read_times(folder)


def read_times(folder: Path) -> SampleTimes:
    """What drawing the shards took. A shard that was drawn twice counts as it was the last time.

    Raises:
        InputError: nobody has written down any times there.
    """
    path = folder / TIMES_NAME
    if not path.exists():
        raise InputError(f"{path} is missing: {folder} is no set of samples")
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    shards = {line["shard"]: line for line in lines}.values()
    return SampleTimes(
        sum(shard["num_images"] for shard in shards),
        sum(shard["seconds"] for shard in shards),
        sum(shard["cpu_seconds"] for shard in shards),
    )


def _claim(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes the manifest, or finds the same one."""
    path = folder / MANIFEST_NAME
    if not path.exists():
        write_json(path, manifest)
        return
    found = read_json_object(path)
    for key, value in json.loads(json.dumps(manifest)).items():
        if found.get(key) != value:
            raise InputError(f"{folder} holds other samples: {key} is {found.get(key)!r} there, expected {value!r}")


def _write_shard(
    path: Path, draw: DrawClasses, names: Sequence[str], classes: Sequence[int], seeds: Sequence[int]
) -> None:
    clock, cpu = time.perf_counter(), time.process_time()
    images = draw(classes, seeds)
    line = {
        "shard": path.name,
        "num_images": len(classes),
        "seconds": round(time.perf_counter() - clock, 3),
        "cpu_seconds": round(time.process_time() - cpu, 3),
    }
    features = Features({"image": Image(), "label": ClassLabel(names=list(names)), "seed": Value("int64")})
    columns = {
        "image": [{"bytes": png_bytes(image), "path": None} for image in images],
        "label": list(classes),
        "seed": list(seeds),
    }
    buffer = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns, schema=features.arrow_schema), buffer)
    times = path.with_name(TIMES_NAME)
    earlier = times.read_text(encoding="utf-8") if times.exists() else ""
    atomic_write_text(times, earlier + json.dumps(line) + "\n")  # before the shard: none lacks its time
    atomic_write_bytes(path, buffer.getvalue())
