"""How long encoding and decoding take: the one thing an evaluation measures that is not the same the next time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from .devices import wait_for_device
from .interface import TokenizesImages


@dataclass(frozen=True)
class Speed:
    """Wall-clock seconds per picture, the median over `repeats` calls after a first one that does not count.

    Attributes:
        encode: pixels -> codes.
        decode: codes of all levels -> pixels; None for a tokenizer that does not decode.
        batch_size: pictures per call.
        repeats: calls measured.
        threads: of torch, on the CPU.
        device: where the tokenizer is.
    """

    encode: float
    decode: float | None
    batch_size: int
    repeats: int
    threads: int
    device: str


def measure_speed(model: TokenizesImages, pixel_values: torch.Tensor, *, repeats: int = 5) -> Speed:
    """Times one batch (B, C, H, W) in [-1, 1], both ways."""
    pixel_values = pixel_values.to(model.device)
    codes = model.encode(pixel_values)
    encode = _median_seconds(lambda: model.encode(pixel_values), repeats)
    try:
        decode = _median_seconds(lambda: model.decode(codes), repeats) / len(pixel_values)
    except InputError:  # a tokenizer without a decoder
        decode = None
    return Speed(
        encode=encode / len(pixel_values),
        decode=decode,
        batch_size=len(pixel_values),
        repeats=repeats,
        threads=torch.get_num_threads(),
        device=str(model.device),
    )


def _median_seconds(call: Callable[[], object], repeats: int) -> float:
    return statistics.median([_seconds(call) for _ in range(repeats + 1)][1:])  # the first one warms up


def _seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    wait_for_device()
    return time.perf_counter() - start
