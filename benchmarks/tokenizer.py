"""Speed and memory of image tokenizers and vector quantizers beside other implementations, in one run.

pip install vector-quantize-pytorch     # without it, its arms are left out
OMP_NUM_THREADS=1 python benchmarks/tokenizer.py --threads 1 --json tokenizer.json

encode, train: a two-level VQ-VAE-2 of the well-known port's layout, written the obvious way (`plain_vqvae2.py`), our
adapter for that layout with the same weights and codebooks, and our own preset `vqvae2-256`, a different network for
the same grids. quantizer: our EMA codebook beside that of vector-quantize-pytorch, both with straight-through
gradients and no revival, from the same vectors. Arms take turns, ratios are of medians. Memory is the peak of the
resident size above what a fresh process had before one run (Linux).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from interleaved import Arms, extra_memory, measure, print_report
from plain_vqvae2 import PlainVQVAE2
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pictogram import ImageTokenizer
from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig
from pictogram.tokenizer.batches import prefix_counts
from pictogram.tokenizer.ema_codebook import EMACodebook
from pictogram.tokenizer.presets import PRESETS
from pictogram.tokenizer.quantizer import channels_last
from pictogram.tokenizer.training_config import TokenizerTrainingConfig

DIM = 64
MOST_BYTES = 12e9
"""An N x K matrix larger than this is not tried."""

_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
"""Makes glibc return freed memory to the system at once, so that what an arm needs is not hidden in what it kept."""


@dataclass(frozen=True)
class Sizes:
    """What is measured; `quick` sizes only show that it runs."""

    image_size: int = 256
    batch_size: int = 8
    train_batch_size: int = 4
    width: int = 128
    repeats: int = 7
    quantizer_repeats: int = 3
    side: int = 64
    pictures: int = 16
    codebook_sizes: tuple[int, ...] = (512, 8192, 65536)

    @property
    def num_points(self) -> int:
        """N of the quantizers."""
        return self.pictures * self.side**2


QUICK = Sizes(32, 2, 2, 16, 1, 1, 8, 2, (128, 200))


def smooth_pictures(count: int, size: int) -> torch.Tensor:
    """(count, 3, size, size) in [-1, 1]: coarse noise made smooth, with fine noise on it."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 3, size // 8, size // 8, generator=generator)
    smooth = F.interpolate(coarse, size=size, mode="bilinear")
    return (smooth + 0.1 * torch.randn(smooth.shape, generator=generator)).clamp(-2, 2) / 2


@torch.no_grad()
def new_plain(sizes: Sizes) -> PlainVQVAE2:
    """Random weights that keep the signal's scale, and codebooks of latents drawn at random, so codes are diverse."""
    torch.manual_seed(0)
    model = PlainVQVAE2(sizes.width).eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight)
    pixel_values = smooth_pictures(4, sizes.image_size)
    fine = model.enc_b(pixel_values)
    latents = model.quantize_conv_t(model.enc_t(fine))
    draw_vectors(model.quantize_t.embed, latents)
    top = model.quantize_t(latents)[0]
    draw_vectors(model.quantize_b.embed, model.quantize_conv_b(torch.cat([model.dec_t(top), fine], 1)))
    return model


def draw_vectors(columns: torch.Tensor, latents: torch.Tensor) -> None:
    """Fills (D, K) from (B, D, h, w), near latents where there are fewer of them than K."""
    points = channels_last(latents)
    chosen = points[torch.randint(len(points), (columns.shape[1],))].T
    columns.copy_(chosen + 0.01 * points.std() * torch.randn(chosen.shape))


def new_adapted(plain: PlainVQVAE2, sizes: Sizes) -> AdaptedTokenizer:
    """Our adapter with the same weights."""
    config = AdaptedTokenizerConfig(layout="vqvae2", settings={"channel": sizes.width}, image_size=sizes.image_size)
    model = AdaptedTokenizer(config)
    model.network.load_state_dict(plain.state_dict())
    return model


def new_preset(sizes: Sizes, pixel_values: torch.Tensor) -> ImageTokenizer:
    """The network of the preset vqvae2-256."""
    torch.manual_seed(0)
    options = {**PRESETS["vqvae2-256"], "image_size": sizes.image_size, "hidden_size": sizes.width}
    model = ImageTokenizer(TokenizerTrainingConfig(**options).model_config())
    model.start_codebooks(pixel_values[:1], seed=0)
    return model.eval()


def encode_arms(sizes: Sizes) -> dict[str, Callable[[], Any]]:
    """`plain` does what the port does; without one-hot codes it is what its encoding needs."""
    pixel_values = smooth_pictures(sizes.batch_size, sizes.image_size)
    plain = new_plain(sizes)
    spared = PlainVQVAE2(sizes.width, one_hot_always=False).eval()
    spared.load_state_dict(plain.state_dict())
    models = {
        "plain": plain,
        "plain_without_one_hot": spared,
        "adapted": new_adapted(plain, sizes),
        "preset": new_preset(sizes, pixel_values),
    }
    return {name: torch.no_grad()(lambda model=model: model.encode(pixel_values)) for name, model in models.items()}


def train_arms(sizes: Sizes) -> dict[str, Callable[[], Any]]:
    """One step of Adam each: forward, backward, optimizer, codebooks; the preset's also decodes a share of prefixes."""
    pixel_values = smooth_pictures(sizes.train_batch_size, sizes.image_size)
    plain, preset = new_plain(sizes).train(), new_preset(sizes, pixel_values).train()
    plain_optimizer, preset_optimizer = (torch.optim.Adam(model.parameters(), 1e-4) for model in (plain, preset))

    def plain_step() -> None:
        plain_optimizer.zero_grad()
        plain.loss(pixel_values).backward()
        plain_optimizer.step()

    counts = prefix_counts(0, len(pixel_values), preset.config.num_levels - 1, TokenizerTrainingConfig().prefix_share)

    def preset_step() -> None:
        preset_optimizer.zero_grad()
        output = preset(pixel_values, counts)
        output.loss.backward()
        preset_optimizer.step()
        preset.update_codebooks(output)

    return {"plain": plain_step, "preset": preset_step}


def quantizer_arms(size: int, sizes: Sizes) -> dict[str, Callable[[], Any]]:
    """`<whose>_<what>`: train_forward and train_backward move the codebook, search is in evaluation mode."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(sizes.pictures, DIM, sizes.side, sizes.side, generator=generator).requires_grad_()
    vectors = torch.randn(size, DIM, generator=generator)
    codebook = EMACodebook(size, DIM, decay=0.99, revival_threshold=0.0)
    codebook.embedding.weight.data.copy_(vectors)
    codebook.sums.copy_(vectors)

    def forward() -> torch.Tensor:
        output = codebook.quantize(latents)
        codebook.update(output.latents, output.indices)
        return output.quantized.sum() + output.commitment_loss

    arms: dict[str, Callable[[], Any]] = {
        "ours_search": torch.no_grad()(lambda: codebook.quantize(latents).indices),
        "ours_train_forward": forward,
        "ours_train_backward": lambda: forward().backward(),
    }
    available = importlib.util.find_spec("vector_quantize_pytorch") is not None
    if available and 4 * sizes.num_points * size <= MOST_BYTES:
        arms |= their_quantizer_arms(latents, vectors)
    return arms


def their_quantizer_arms(latents: torch.Tensor, vectors: torch.Tensor) -> dict[str, Callable[[], Any]]:
    """The same by vector-quantize-pytorch."""
    from vector_quantize_pytorch import VectorQuantize  # pyright: ignore[reportMissingImports]

    size, dim = vectors.shape
    theirs = VectorQuantize(dim, codebook_size=size, decay=0.99, accept_image_fmap=True, rotation_trick=False)
    for name in ("embed", "embed_avg"):
        getattr(theirs._codebook, name).data.copy_(vectors)

    def forward() -> torch.Tensor:
        quantized, _, commitment = theirs.train()(latents)
        return quantized.sum() + commitment.sum()

    return {
        "vqp_search": torch.no_grad()(lambda: theirs.eval()(latents)[1]),
        "vqp_train_forward": forward,
        "vqp_train_backward": lambda: forward().backward(),
    }


def identical_share(left: torch.Tensor, right: torch.Tensor) -> float:
    """Share of equal codes."""
    return float((left == right).double().mean())


def multiply_adds(run: Callable[[], Any]) -> int:
    """Of all convolutions and matrix products, from their shapes."""
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


def product_rates(quick: bool) -> dict[str, float]:
    """GFLOP/s, two per multiply-add: the best matrix product of several shapes, and the encoder's largest convolution.

    A convolution may beat the matrix product: they come from different libraries.
    """
    rates = {}
    for rows, inner, columns in (
        [(64,) * 3] if quick else [(1024,) * 3, (2048,) * 3, (4096, 512, 512), (32768, 64, 512)]
    ):
        left, right = torch.randn(rows, inner), torch.randn(inner, columns)
        out = torch.empty(rows, columns)
        time = best_of(lambda left=left, right=right, out=out: torch.mm(left, right, out=out))
        rates[f"{rows}x{inner}x{columns}"] = 2e-9 * rows * inner * columns / time
    side, width = (8, 16) if quick else (64, 128)
    hidden = torch.randn(2, width, side, side).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(width, width, 3, 3)
    time = best_of(lambda: F.conv2d(hidden, weight, padding=1))
    return {"matrix_product": max(rates.values()), "convolution": 2e-9 * 2 * side**2 * width**2 * 9 / time}


def best_of(run: Callable[[], Any], repeats: int = 9) -> float:
    """CPU seconds over the threads: what a run takes when nothing else runs."""
    return min(measure({"": run}, 1)[""]["cpu_seconds"] for _ in range(repeats)) / torch.get_num_threads()


def memory(part: str, arms: Arms, options: list[str]) -> dict[str, float]:
    """MB by arm, each measured in a process of its own."""
    found = {}
    for name in arms:
        command = [sys.executable, str(Path(__file__).resolve()), "--memory-of", f"{part}/{name}", *options]
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | _GIVE_BACK).stdout
        found[name] = round(int(output.splitlines()[-1]) / 1e6, 1)
    return found


def compare_pictures(part: str, arms: Arms, batch_size: int, sizes: Sizes, options: list[str]) -> dict[str, Any]:
    """Times, pictures per second and memory of encoding or training, and how many times as fast as the plain one."""
    times = measure(arms, sizes.repeats)
    megabytes = memory(part, arms, options)
    arms_found = {
        name: time
        | {"images_per_second": batch_size / time["seconds"], "extra_megabytes": megabytes[name]}
        | {"speedup": times["plain"]["seconds"] / time["seconds"]}
        | {"cpu_speedup": times["plain"]["cpu_seconds"] / time["cpu_seconds"]}
        for name, time in times.items()
    }
    return {"batch_size": batch_size, "arms": arms_found}


def encode_report(sizes: Sizes, rates: dict[str, float], options: list[str]) -> dict[str, Any]:
    """Comparison of encoders, the share of identical codes, and how much of the machine's rate each one reaches."""
    arms = encode_arms(sizes)
    report = compare_pictures("encode", arms, sizes.batch_size, sizes, options)
    for name, run in arms.items():
        work = multiply_adds(run)
        rate = 2e-9 * work / report["arms"][name]["cpu_seconds"]  # of one thread: CPU seconds are of all threads
        report["arms"][name] |= {"multiply_adds_per_image": work / sizes.batch_size, "gflops_per_thread": rate}
        for of, best in rates.items():
            report["arms"][name][f"share_of_{of}_rate"] = rate * torch.get_num_threads() / best
    expected = arms["plain"]()
    pairs = list(zip(expected, arms["adapted"](), strict=True))
    report["identical_codes"] = identical_share(
        *(torch.cat([c.flatten() for c in side]) for side in zip(*pairs, strict=True))
    )
    report["distinct_codes"] = [len(level.unique()) for level in expected]
    return report


def quantizer_report(size: int, sizes: Sizes, options: list[str]) -> dict[str, Any]:
    """Times, memory and ratios theirs / ours for one codebook size; the codes are compared before any has moved."""
    arms = quantizer_arms(size, sizes)
    report: dict[str, Any] = {"codebook_size": size, "points": sizes.num_points, "skipped": "vqp_search" not in arms}
    if not report["skipped"]:
        report["identical_codes"] = identical_share(arms["ours_search"](), arms["vqp_search"]())
    times = measure(arms, sizes.quantizer_repeats)
    megabytes = memory(f"quantizer-{size}", arms, options)
    report["arms"] = {name: time | {"extra_megabytes": megabytes[name]} for name, time in times.items()}
    for what in () if report["skipped"] else ("search", "train_forward", "train_backward"):
        ours, theirs = report["arms"][f"ours_{what}"], report["arms"][f"vqp_{what}"]
        report[f"{what}_ratios"] = {name: theirs[name] / max(ours[name], 1e-9) for name in ours}
    return report


def arms_of(part: str, sizes: Sizes) -> dict[str, Callable[[], Any]]:
    """The arms of one part by its name: encode, train or quantizer-<K>."""
    if part.startswith("quantizer-"):
        return quantizer_arms(int(part.removeprefix("quantizer-")), sizes)
    return {"encode": encode_arms, "train": train_arms}[part](sizes)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--parts", nargs="+", choices=["encode", "train", "quantizer"], default=["encode", "train", "quantizer"]
    )
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--quick", action="store_true", help="tiny sizes that mean nothing")
    parser.add_argument("--memory-of", metavar="PART/ARM", help="print the bytes one arm needs, and nothing else")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    sizes = QUICK if options.quick else Sizes()
    if options.memory_of:
        part, arm = options.memory_of.split("/")
        print(extra_memory(arms_of(part, sizes)[arm]))
        return
    passed_on = ["--threads", str(options.threads), *(["--quick"] if options.quick else [])]
    rates = product_rates(options.quick)
    report: dict[str, Any] = {"threads": options.threads, "sizes": asdict(sizes), "gflops": rates}
    if "encode" in options.parts:
        report["encode"] = encode_report(sizes, rates, passed_on)
    if "train" in options.parts:
        batch_size = sizes.train_batch_size
        report["train"] = compare_pictures("train", train_arms(sizes), batch_size, sizes, passed_on)
    if "quantizer" in options.parts:
        report["quantizer"] = [quantizer_report(size, sizes, passed_on) for size in sizes.codebook_sizes]
    print_report(report, options.json)


if __name__ == "__main__":
    main()
