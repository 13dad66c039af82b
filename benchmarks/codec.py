"""What a codec's files weigh, how fast they are written and read, and whether other circumstances give the same bytes.

python benchmarks/codec.py --model BUNDLE --data zalando-datasets/fashion_mnist --elsewhere 500 --json codec.json

benchmarks/README.md says what each number is.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import print_report
from PIL import Image

from pictogram import ImageCodec, InputError
from pictogram.lm.code_frequencies import FrequencyTables
from pictogram.lm.code_stream import decode_codes, encode_codes
from pictogram.lm.codec_model import PriorModel
from pictogram.tokenizer.distortion import psnr
from pictogram.tokenizer.images import load_image_source

CIRCUMSTANCES = {
    "one thread": {"OMP_NUM_THREADS": "1"},
    "two threads": {"OMP_NUM_THREADS": "2"},
    "default instructions": {"ATEN_CPU_CAPABILITY": "default"},
    "default instructions everywhere": {
        "ATEN_CPU_CAPABILITY": "default",
        "MKL_CBWR": "COMPATIBLE",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    },
}
"""Processes of their own, and what is set in them."""

BATCHES = (1, 64, 500)
"""Pictures whose chances are computed at once; all must give the same frequencies."""


def pictures(data: str, split: str, most: int | None) -> list[Image.Image]:
    """The first pictures of a split, in their own modes."""
    source = load_image_source(data, split)
    rows = range(len(source) if most is None else min(most, len(source)))
    images = [source.read(row) for row in rows]
    # A source reads RGB; what is grey in every pixel goes in as grey.
    return [image.convert("L") if is_grey(image) else image for image in images]


def is_grey(image: Image.Image) -> bool:
    values = np.asarray(image)
    return values.ndim == 2 or bool((values == values[..., :1]).all())


def measure(codec: ImageCodec, images: list[Image.Image], options: dict[str, Any]) -> dict[str, Any]:
    """Bytes per picture, PSNR, pictures a second, and the share of the time that the model takes."""
    written, seconds = timed(lambda: codec.compress(images, verify=False, **options))
    read, reading = timed(lambda: codec.decompress(written.data))
    pairs = zip(images, read.images, strict=True)
    errors = [np.square(np.asarray(before, float) - np.asarray(after, float)).mean() for before, after in pairs]
    count = len(images)
    return {
        "pictures": count,
        "model_bytes": written.model_bits / 8 / count,
        "payload_bytes": written.payload_bytes / count,
        "file_bytes": len(written.data) / count,
        "file_over_model": len(written.data) / (written.model_bits / 8) - 1,
        "psnr": psnr(float(np.mean(errors))),
        "compressed_per_second": count / seconds,
        "decompressed_per_second": count / reading,
        "sha256": hashlib.sha256(written.data).hexdigest(),
    }


def model_share(codec: ImageCodec, images: list[Image.Image], group_size: int) -> float:
    """Share of reading the streams that the prior takes; the arithmetic coder takes the rest."""
    squares = codec.squares
    codes = torch.cat([squares.codes(group) for group in squares.groups(images[:group_size], 0, group_size)])
    chances = PriorModel(codec.bundle).chances(squares.grids)
    stream = encode_codes(chances, codes)
    arguments = (chances, stream.payload, stream.checksum, len(codes), codes.shape[1])

    def step_by_step() -> None:
        reader = chances.reader(len(codes))
        for place in range(codes.shape[1]):
            reader.chances()
            reader.append(codes[:, place])

    shares = [timed(step_by_step)[1] / timed(lambda: decode_codes(*arguments))[1] for _ in range(5)]
    return sorted(shares)[2]


def tables_digest(codec: ImageCodec, images: list[Image.Image], batch: int) -> str:
    """SHA-256 of the frequencies of all codes, computed for so many pictures at once."""
    squares = codec.squares
    codes = torch.cat([squares.codes(group) for group in squares.groups(images, 0, len(images))])
    chances = PriorModel(codec.bundle).chances(squares.grids)
    digests = [hashlib.sha256() for _ in codes]
    for first in range(0, len(codes), batch):
        part = codes[first : first + batch]
        for places in chances.of_codes(part):
            for column in places.unbind(1):
                for row, starts in enumerate(FrequencyTables.of(column).starts.numpy(), first):
                    digests[row].update(starts.tobytes())
    return hashlib.sha256(b"".join(digest.digest() for digest in digests)).hexdigest()


def elsewhere(arguments: argparse.Namespace, count: int) -> dict[str, Any]:
    """The digests of one file under all circumstances, and of the frequencies in all batches."""
    own = [sys.executable, __file__, "--model", arguments.model, "--data", arguments.data, "--split", arguments.split]
    own += ["--max-images", str(count), "--digest-only"]
    files = {}
    for name, settings in CIRCUMSTANCES.items():
        done = subprocess.run(own, env=os.environ | settings, capture_output=True, text=True, check=True)
        files[name] = done.stdout.split()[-1]
    codec = ImageCodec.from_pretrained(arguments.model, device="cpu")
    images = pictures(arguments.data, arguments.split, count)
    tables = {f"batches of {batch}": tables_digest(codec, images, batch) for batch in BATCHES}
    return {
        "pictures": count,
        "the_same_file": len({*files.values()}) == 1,
        "the_same_frequencies": len({*tables.values()}) == 1,
        "files": files,
        "frequencies": tables,
    }


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and its seconds."""
    start = time.perf_counter()
    result = call()
    return result, time.perf_counter() - start


def run(arguments: argparse.Namespace) -> dict[str, Any] | None:
    codec = ImageCodec.from_pretrained(arguments.model, device="cpu")
    images = pictures(arguments.data, arguments.split, arguments.max_images)
    if arguments.digest_only:
        print(hashlib.sha256(codec.compress(images, verify=False, group_size=64).data).hexdigest())
        return None
    levels = len(codec.squares.grids)
    report: dict[str, Any] = {"model": arguments.model, "threads": torch.get_num_threads()}
    for kept in range(levels, 0, -1):
        report[f"{kept} levels"] = measure(codec, images, {"num_levels": kept})
    if codec.bundle.static_chances is not None:
        report["static"] = measure(codec, images, {"static": True})
    report["share_of_the_prior"] = model_share(codec, images, 128)
    if arguments.elsewhere:
        report["elsewhere"] = elsewhere(arguments, arguments.elsewhere)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="bundle")
    parser.add_argument("--data", required=True, help="pictures")
    parser.add_argument("--split", default="test")
    parser.add_argument("--max-images", type=int)
    parser.add_argument("--elsewhere", type=int, default=0, help="pictures to compress under other circumstances")
    parser.add_argument("--digest-only", action="store_true", help="print the digest of a file and nothing else")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    try:
        if (report := run(arguments)) is not None:
            print_report(report, arguments.json)
    except InputError as error:
        sys.exit(f"codec.py: {error}")


if __name__ == "__main__":
    main()
