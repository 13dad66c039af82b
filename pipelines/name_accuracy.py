"""Name accuracy: do the words steer the pictures?

For captions of the training set, one sample each: is the training picture nearest to the sample the one that bears the
caption? This measures recall of the training pictures by name. It is memorisation, and says nothing about new words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..tokenizer.batches import derived_generator
from ..tokenizer.image_processor import to_8bit
from ..tokenizer.interface import ImageCodes
from ..tokenizer.pixel_dataset import PixelDataset
from .bundle_pipeline import check_positive
from .image_to_text import ImageToTextPipeline
from .text_to_image import TextToImagePipeline


@dataclass(frozen=True)
class NameAccuracy:
    """Shares of samples whose nearest training picture bears the caption, 0..1.

    Attributes:
        name_accuracy: at `guidance_scale`.
        without_guidance: at guidance 1.
        reconstructions: of reconstructed training pictures instead of samples: the ceiling the image tokenizer sets.
        shuffled_captions: of the guided samples against each other's captions: chance; None of one sample.
        caption_accuracy: the other direction: share of the same pictures whose most likely caption is their own.
        guidance_scale: of the first figure.
        num_captions: captions tried.
        num_training_pictures: pictures searched.
    """

    name_accuracy: float
    without_guidance: float
    reconstructions: float
    shuffled_captions: float | None
    caption_accuracy: float
    guidance_scale: float
    num_captions: int
    num_training_pictures: int
    note: str = "recall of training pictures by name: memorisation, not generalisation"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class NamedSamples:
    """One sample for each of some captions, at `guidance_scale`.

    Attributes:
        rows: of the training pictures that bear the captions.
        captions: one a sample.
        pixels: (N, C, H, W), 8-bit values.
        nearest: all captions of the training picture nearest to each sample.
    """

    rows: list[int]
    captions: list[str]
    pixels: torch.Tensor
    nearest: list[list[str]]

    @property
    def recalled(self) -> list[bool]:
        """Of each sample, whether its nearest training picture bears its caption."""
        return [caption in found for caption, found in zip(self.captions, self.nearest, strict=True)]


@dataclass(frozen=True, eq=False)
class NameMeasurement:
    """Figures, and the samples that they are of.

    Attributes:
        accuracy: the figures.
        samples: of `accuracy.name_accuracy`.
    """

    accuracy: NameAccuracy
    samples: NamedSamples


def measure_name_accuracy(
    bundle: Bundle, dataset: PixelDataset, *, seed: int, num_captions: int = 200, guidance_scale: float = 1.2
) -> NameAccuracy:
    """The figures of `measure_names` alone."""
    return measure_names(bundle, dataset, seed=seed, num_captions=num_captions, guidance_scale=guidance_scale).accuracy


def measure_names(
    bundle: Bundle, dataset: PixelDataset, *, seed: int, num_captions: int = 200, guidance_scale: float = 1.2
) -> NameMeasurement:
    """Draws captions by seed and samples one picture for each.

    Args:
        bundle: trained on `dataset`.
        dataset: the training pictures with their captions.
        seed: of the choice of captions and of the samples.
        num_captions: captions to try, at most one per picture.
        guidance_scale: of the main figure.

    Raises:
        InputError: `num_captions` below 1, or pictures without captions.
    """
    check_positive("num_captions", num_captions)
    order = torch.randperm(len(dataset), generator=derived_generator(seed, "name accuracy")).tolist()
    rows = [row for row in order if dataset.source.captions(row)[0]][:num_captions]
    if not rows:
        raise InputError(f"{dataset.source.name} has no captions, so there are no names to recall")
    captions = [dataset.source.captions(row)[0] for row in rows]
    pipeline = TextToImagePipeline(bundle)
    training = to_8bit(dataset.pixels(range(len(dataset))))

    def nearest_captions(pixels: torch.Tensor) -> list[list[str]]:
        return [dataset.source.captions(row) for row in _nearest(pixels, training)]

    guided, plain = (
        _decode(bundle, pipeline(captions, seed=seed, guidance_scale=scale).codes) for scale in (guidance_scale, 1.0)
    )
    samples = NamedSamples(rows, captions, guided, nearest_captions(guided))
    pictures = [dataset.source.read(row, bundle.image_processor.background_colour) for row in rows]
    written = ImageToTextPipeline(bundle)(pictures).captions
    tokenizer = bundle.image_tokenizer
    originals = tokenizer.encode(dataset.pixels(rows).to(tokenizer.device))
    accuracy = NameAccuracy(
        name_accuracy=_share(captions, samples.nearest),
        without_guidance=_share(captions, nearest_captions(plain)),
        reconstructions=_share(captions, nearest_captions(_decode(bundle, originals))),
        shuffled_captions=_share(captions[1:] + captions[:1], samples.nearest) if len(captions) > 1 else None,
        caption_accuracy=_share(written, [dataset.source.captions(row) for row in rows]),
        guidance_scale=guidance_scale,
        num_captions=len(captions),
        num_training_pictures=len(dataset),
    )
    return NameMeasurement(accuracy, samples)


def _decode(bundle: Bundle, codes: ImageCodes) -> torch.Tensor:
    """(N, C, H, W) 8-bit values."""
    device = bundle.image_tokenizer.device
    return to_8bit(bundle.image_tokenizer.decode([level.to(device) for level in codes])).cpu()


def _nearest(pictures: torch.Tensor, training: torch.Tensor) -> list[int]:
    """Index of the training picture with the smallest squared error to each picture."""
    # In float64 the sums of whole numbers are exact: of equally near pictures the first is taken on every machine.
    a, b = pictures.flatten(1).double(), training.flatten(1).double()
    return (b.square().sum(1) - 2 * a @ b.T).argmin(1).tolist()


def _share(captions: Sequence[str], nearest: Sequence[Sequence[str]]) -> float:
    return sum(caption in found for caption, found in zip(captions, nearest, strict=True)) / len(captions)
