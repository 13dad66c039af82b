"""How good an image tokenizer is, at length: distortion, what its codes cost and tell, and how its pictures spread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ..hub.errors import InputError
from .code_statistics import ClassInformation, CodeStatistics, measure_classes, measure_codes
from .distortion import Distortion, DistortionMeter
from .feature_space import FeatureSpace
from .frechet import FrechetResult, GaussianMoments, frechet_distance
from .image_processor import to_8bit
from .images import ClassLabels
from .interface import ImageCodes, TokenizesImages
from .padding import Box
from .pixel_dataset import PixelDataset
from .reconstructions import over_contents, reconstruct, row_batches


@dataclass(frozen=True)
class TokenizerReport:
    """Figures over a set of pictures; the same the next time.

    Attributes:
        num_images: pictures measured.
        distortion: of every prefix of levels.
        codes: use and cost of the codes.
        classes: what the whole-image code tells of classes; None without a whole-image level or without class labels.
        frechet: distance of the decoded pictures from reference pictures; None if it was not asked for, if the
            tokenizer does not decode, or with fewer than two pictures.
    """

    num_images: int
    distortion: Distortion
    codes: CodeStatistics
    classes: ClassInformation | None
    frechet: FrechetResult | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON: distortion and codes in one level with the number of pictures."""
        return {
            "num_images": self.num_images,
            **self.distortion.to_dict(),
            **asdict(self.codes),
            "classes": self.classes and asdict(self.classes),
            "frechet": self.frechet and asdict(self.frechet),
        }


@dataclass(frozen=True)
class Reference:
    """Pictures that a tokenizer is measured against, other than those measured.

    Attributes:
        split: what they are called.
        dataset: the pictures.
    """

    split: str
    dataset: PixelDataset


def report_on_tokenizer(
    model: TokenizesImages,
    dataset: PixelDataset,
    *,
    split: str,
    reference: Reference | None = None,
    feature_space: FeatureSpace | None = None,
    batch_size: int = 64,
    progress: Callable[[int], None] | None = None,
) -> TokenizerReport:
    """Measures a tokenizer on all pictures of `dataset`.

    Args:
        model: in evaluation mode.
        dataset: pictures of one size.
        split: what they are called.
        reference: other pictures. Without them nothing is held out, and the Fréchet distance is that from the
            originals themselves.
        feature_space: for the Fréchet distance; None leaves it out.
        batch_size: pictures at a time; no figure depends on it beyond the rounding inside the model.
        progress: called with the number of pictures done since the last call, reference pictures included.

    Raises:
        InputError: the features fail on these pictures.
    """
    measured = _measure(model, dataset, feature_space, batch_size, progress)
    other = reference and _survey(model, reference.dataset, feature_space, batch_size, progress)
    frechet = None
    if feature_space is not None and measured.decoded.count > 1 and (other is None or other.features.count > 1):
        compared = measured.originals if other is None else other
        frechet = FrechetResult(
            features=feature_space.name,
            features_sha256=feature_space.sha256,
            feature_dimension=len(measured.decoded.mean),
            reference_split=split if reference is None else reference.split,
            reference_count=compared.features.count,
            evaluated_count=measured.decoded.count,
            prefix=len(measured.originals.codes),
            picture_size=_common_size(measured.originals.boxes | compared.boxes),
            distance=frechet_distance(compared.features, measured.decoded),
            floor=0.0 if other is None else frechet_distance(other.features, measured.originals.features),
        )
    return TokenizerReport(
        num_images=len(dataset),
        distortion=measured.distortion,
        codes=measure_codes(measured.originals.codes, model.config.codebook_sizes, other and other.codes),
        classes=_classes(model, measured.originals, other),
        frechet=frechet,
    )


@dataclass(frozen=True)
class _Survey:
    """Original pictures: their codes (one int32 (N, h_l, w_l) per level), features, sizes and labels."""

    codes: ImageCodes
    features: GaussianMoments
    boxes: set[Box]
    labels: ClassLabels | None


@dataclass(frozen=True)
class _Measured:
    originals: _Survey
    decoded: GaussianMoments
    distortion: Distortion


def _measure(
    model: TokenizesImages,
    dataset: PixelDataset,
    space: FeatureSpace | None,
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> _Measured:
    """One pass over the pictures measured."""
    distortion, features, decoded = DistortionMeter(with_ssim=True), GaussianMoments(), GaussianMoments()
    codes: list[ImageCodes] = []
    boxes: set[Box] = set()
    for batch in reconstruct(model, dataset, batch_size=batch_size, progress=progress):
        distortion.add(batch)
        codes.append(_narrow(batch.codes))
        boxes.update(batch.boxes)
        if space is not None and batch.prefixes[-1] is not None:
            features.add(over_contents(batch.boxes, space.features, batch.original))
            decoded.add(over_contents(batch.boxes, space.features, batch.prefixes[-1]))
    survey = _Survey(_join(codes), features, boxes, dataset.source.class_labels())
    return _Measured(survey, decoded, distortion.result())


@torch.no_grad()
def _survey(
    model: TokenizesImages,
    dataset: PixelDataset,
    space: FeatureSpace | None,
    batch_size: int,
    progress: Callable[[int], None] | None,
) -> _Survey:
    """One pass over the reference pictures, which are not decoded."""
    features = GaussianMoments()
    codes: list[ImageCodes] = []
    boxes: set[Box] = set()
    for rows in row_batches(len(dataset), batch_size):
        pixel_values = dataset.pixels(rows).to(model.device)
        places = [dataset.content_box(row) for row in rows]
        codes.append(_narrow(model.encode(pixel_values)))
        boxes.update(places)
        if space is not None:
            features.add(over_contents(places, space.features, to_8bit(pixel_values)))
        if progress:
            progress(len(rows))
    return _Survey(_join(codes), features, boxes, dataset.source.class_labels())


def _narrow(codes: ImageCodes) -> ImageCodes:
    return tuple(level.to("cpu", torch.int32) for level in codes)  # all codes of a set are held at once


def _join(batches: list[ImageCodes]) -> ImageCodes:
    return tuple(torch.cat(level) for level in zip(*batches, strict=True))


def _common_size(boxes: set[Box]) -> tuple[int, int] | None:
    sizes = {(box.height, box.width) for box in boxes}
    return sizes.pop() if len(sizes) == 1 else None


def _classes(model: TokenizesImages, originals: _Survey, other: _Survey | None) -> ClassInformation | None:
    labels = originals.labels
    if labels is None or not model.config.has_image_level:
        return None
    reference = None
    if other is not None and other.labels is not None:
        if other.labels.names != labels.names:
            raise InputError(
                f"both splits must have one list of classes in {labels.column!r}, got {len(labels.names)} and "
                f"{len(other.labels.names)} names that differ"
            )
        reference = other.codes[0].flatten(), other.labels.values
    return measure_classes(
        originals.codes[0].flatten(),
        labels.values,
        model.config.codebook_sizes[0],
        len(labels.names),
        reference,
    )
