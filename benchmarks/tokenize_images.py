"""How fast do pictures become codes, in how much memory, and how fast are codes read again?

python benchmarks/tokenize_images.py --json tokenize.json
python benchmarks/tokenize_images.py --quick     # seconds, and means nothing

- speed: JPEG files of 256x256 to parquet by `write_codes`, the encoding alone of as many pictures, and a loop that
  opens, encodes and saves one picture at a time. `share_of_model` is the speed of the whole over the encoding's.
  `possible_speedup` over the loop is what the stages allow on these cores: encoding in batches takes all of them, and
  decoding is divided among them. The three take turns; figures are medians.
- memory: the peak of a fresh process over 2,000 and over 20,000 pictures (Linux).
- reading: bytes of parquet per code, and shuffled batches of 256 rows of 320 codes.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import extra_memory, print_report
from PIL import Image

from pictogram import ImageTokenizer, ImageTokenizerConfig, load_codes
from pictogram.tokenizer.codes_writer import write_codes
from pictogram.tokenizer.decoding import decode_row
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.images import ImageSource, load_image_source
from pictogram.tokenizer.presets import PRESETS
from pictogram.tokenizer.training_config import TokenizerTrainingConfig

SIDE = 256
BATCH = 32


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        pictures: files of the speed part.
        rounds: of it.
        memory: numbers of files of the memory part.
        rows: of the reading part.
    """

    pictures: int = 128
    rounds: int = 5
    memory: tuple[int, int] = (2000, 20000)
    rows: int = 10000


QUICK = Sizes(pictures=8, rounds=1, memory=(8, 16), rows=64)


def write_jpegs(folder: Path, count: int, side: int = SIDE) -> None:
    """Pictures with shapes and some noise, so that they are about as hard to decode as photographs."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC)).astype(np.float64)
        noisy = np.clip(smooth + generator.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{index:06d}.jpg", quality=90)


def new_tokenizer(**changes: Any) -> ImageTokenizer:
    """The preset vqvae2-256, untrained: its speed does not depend on what it has learned."""
    torch.manual_seed(0)
    options = {**PRESETS["vqvae2-256"], **changes}
    return ImageTokenizer(TokenizerTrainingConfig(**options).model_config()).eval()


def processor() -> ImageTokenizerImageProcessorPil:
    return ImageTokenizerImageProcessorPil(size={"height": SIDE, "width": SIDE})


def one_by_one(source: ImageSource, model: ImageTokenizer, folder: Path) -> None:
    """What a script does that knows of no batches: one picture, one call, one file."""
    folder.mkdir()
    prepare = processor()
    for index in range(len(source)):
        pixel_values = prepare(source.read(index), return_tensors="pt")["pixel_values"]
        codes = model.encode(pixel_values)
        np.savez(folder / f"{index:06d}.npz", *(level.numpy() for level in codes))


def seconds_of(run: Callable[[], Any]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def speed_report(sizes: Sizes) -> dict[str, Any]:
    """Pictures per second of the three, and what the stages allow."""
    model, prepare = new_tokenizer(), processor()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        write_jpegs(home / "pictures", sizes.pictures)
        source = load_image_source(str(home / "pictures"))
        decoded = torch.cat(
            [prepare(source.read(row), return_tensors="pt")["pixel_values"] for row in range(min(BATCH, len(source)))]
        )

        def encode() -> None:
            for first in range(0, sizes.pictures, BATCH):
                model.encode(decoded[: min(BATCH, sizes.pictures - first)])

        def decode() -> None:
            for row in source.dataset:
                prepare(decode_row(dict(row)["image"]), do_rescale=False, do_normalize=False, return_tensors="pt")

        times: dict[str, list[float]] = {name: [] for name in ("whole", "encode", "loop", "decode")}
        for turn in range(sizes.rounds + 1):
            arms = {
                "whole": lambda turn=turn: write_codes(
                    source, model, prepare, home / f"codes-{turn}", batch_size=BATCH
                ),
                "encode": encode,
                "loop": lambda turn=turn: one_by_one(source, model, home / f"loop-{turn}"),
                "decode": decode,
            }
            for arm, run in arms.items():
                taken = seconds_of(run)
                if turn:
                    times[arm].append(taken)
    median = {name: statistics.median(taken) / sizes.pictures for name, taken in times.items()}
    possible = median["loop"] / (median["encode"] + median["decode"] / torch.get_num_threads())
    return {
        "pictures_per_second": {name: 1 / seconds for name, seconds in median.items()},
        "share_of_model": median["encode"] / median["whole"],
        "speedup": median["loop"] / median["whole"],
        "possible_speedup": possible,
        "share_of_possible_speedup": median["loop"] / median["whole"] / possible,
    }


def memory_of(count: int) -> int:
    """Bytes that tokenizing needs beyond what a fresh process has; a small network, so that it takes minutes only."""
    model = new_tokenizer(hidden_size=16, patch_size=8, strides="32,16", codebook_dim=8)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        distinct = min(count, 500)
        write_jpegs(home / "pictures", distinct)
        for index in range(distinct, count):
            (home / "pictures" / f"{index:06d}.jpg").hardlink_to(home / "pictures" / f"{index % distinct:06d}.jpg")
        source = load_image_source(str(home / "pictures"))
        return extra_memory(lambda: write_codes(source, model, processor(), home / "codes", rows_per_shard=1000))


def memory_report(sizes: Sizes, passed_on: list[str]) -> dict[str, float]:
    """Megabytes, each in a process of its own."""
    found = {}
    for count in sizes.memory:
        command = [sys.executable, __file__, "--memory-of", str(count), *passed_on]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[f"megabytes_{count}"] = round(int(output.splitlines()[-1]) / 1e6, 1)
    return found


def reading_report(sizes: Sizes) -> dict[str, float]:
    """Bytes per code of an untrained tokenizer's 320 codes, and rows per second in shuffled batches of 256."""
    torch.manual_seed(0)
    config = ImageTokenizerConfig(image_size=64, strides=[8, 4], codebook_sizes=[512, 512], hidden_size=8)
    model = ImageTokenizer(config).eval()
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        write_jpegs(home / "pictures", sizes.rows, side=64)
        source = load_image_source(str(home / "pictures"))
        write_codes(source, model, ImageTokenizerImageProcessorPil(size={"height": 64, "width": 64}), home / "codes")
        size = sum(path.stat().st_size for path in (home / "codes" / "data").glob("*.parquet"))
        codes = load_codes(home / "codes")
        rows = np.random.default_rng(0).permutation(len(codes))
        batches = [rows[first : first + 256] for first in range(0, len(rows), 256)]
        codes.codes(batches[0])
        times = [seconds_of(lambda: [codes.codes(batch) for batch in batches]) for _ in range(sizes.rounds)]
    return {"bytes_per_code": size / (320 * len(codes)), "rows_per_second": len(rows) / statistics.median(times)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--parts", nargs="+", choices=["speed", "memory", "reading"], default=["speed", "memory", "reading"]
    )
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--quick", action="store_true", help="tiny sizes that mean nothing")
    parser.add_argument("--memory-of", type=int, metavar="N", help="print the bytes that N pictures need, nothing else")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory_of(options.memory_of))
        return
    sizes = QUICK if options.quick else Sizes()
    report: dict[str, Any] = {"threads": options.threads, "sizes": asdict(sizes)}
    if "speed" in options.parts:
        report["speed"] = speed_report(sizes)
    if "memory" in options.parts:
        report["memory"] = memory_report(sizes, ["--threads", str(options.threads)])
    if "reading" in options.parts:
        report["reading"] = reading_report(sizes)
    print_report(report, options.json)


if __name__ == "__main__":
    main()
