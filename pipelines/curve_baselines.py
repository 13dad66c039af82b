"""The codecs that need no network, and the settings in which they are measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from .curve_klt import MOST_VALUES, klt_points
from .curve_patch_vq import patch_vq_points
from .curve_pictures import Pictures
from .curve_points import Point


@dataclass(frozen=True)
class BaselineSettings:
    """What is measured, and on how much.

    Attributes:
        max_train: pictures to learn from, at most.
        per_place: codebooks and histograms of their own for every place in the picture, or one for all places.
        blocks: sizes of KLT blocks in pixels; 0 is the whole picture.
        steps: of the KLT's quantizer, in 8-bit values.
        codebooks: (rows, columns, K) of the patch quantizers, in pixels; those that do not tile the pictures are left
            out.
        max_points: patches to learn a codebook from, at most.
        weights: lambda of ECVQ, squared error per bit.
    """

    max_train: int
    per_place: bool
    blocks: tuple[int, ...]
    steps: tuple[float, ...]
    codebooks: tuple[tuple[int, int, int], ...]
    max_points: int
    weights: tuple[float, ...]


LAYOUTS = {
    "aligned": BaselineSettings(
        max_train=60000,
        per_place=True,
        blocks=(0,),
        steps=(20, 30, 40, 50, 65, 80, 100, 120, 150, 200, 250, 350, 500, 700),
        codebooks=((7, 7, 256), (7, 4, 256), (4, 4, 256), (4, 4, 1024), (4, 2, 256), (2, 2, 64), (2, 2, 256)),
        max_points=30000,
        weights=(0, 250, 500, 1000, 2000, 4000, 8000),
    ),
    "crops": BaselineSettings(
        max_train=5000,
        per_place=False,
        blocks=(8, 16, 32),
        steps=(20, 30, 40, 55, 75, 100, 140, 200, 280, 400, 560, 800),
        codebooks=((8, 8, 256), (8, 8, 1024), (8, 4, 1024), (4, 4, 64), (4, 4, 256), (4, 4, 1024)),
        max_points=50000,
        weights=(0, 1000, 3000, 8000, 20000, 50000),
    ),
}
"""How things lie in pictures: "aligned", like clothes or digits, where places differ; "crops", where all are alike."""


def quick(settings: BaselineSettings) -> BaselineSettings:
    """The same in seconds, for a look and for tests; its figures mean nothing."""
    return replace(
        settings,
        max_train=500,
        blocks=settings.blocks[:1],
        steps=(30, 120, 480),
        codebooks=((4, 4, 16),),
        max_points=2000,
        weights=(0, 1000, 4000),
    )


@dataclass(frozen=True)
class Baseline:
    """Points that are measured together.

    Attributes:
        name: tells them from others.
        measure: makes them, in seconds to minutes.
    """

    name: str
    measure: Callable[[], list[Point]]


def baselines(pictures: Pictures, settings: BaselineSettings) -> Iterator[Baseline]:
    """KLT and patch quantizers that the pictures allow, none of them measured yet.

    Blocks and patches that do not tile the pictures are left out, and blocks too large for a KLT.
    """
    _, height, width, channels = pictures.test.shape
    blocks = [(size or height, size or width) for size in settings.blocks]
    for rows, columns in blocks:
        if height % rows or width % columns or rows * columns * channels > MOST_VALUES:
            continue
        yield Baseline(f"klt {rows}x{columns}", lambda r=rows, c=columns: [*klt_points(pictures, r, c, settings.steps)])
    books = [book for book in settings.codebooks if not (height % book[0] or width % book[1])]
    for rows, columns, size in books:

        def measure(patch: tuple[int, int] = (rows, columns), size: int = size) -> list[Point]:
            how = {"per_place": settings.per_place, "max_points": settings.max_points}
            return patch_vq_points(pictures, patch, size, settings.weights, **how)

        yield Baseline(f"patch vq {rows}x{columns} {size}", measure)
