"""What `evaluate samples` compares: real pictures, what a tokenizer makes of them, and samples, all in one geometry."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from ..hub.command_line import entries, numbers
from ..hub.errors import InputError
from ..lm.bundle import Bundle
from ..lm.image_sampler import ImageSampling, PerLevel
from ..tokenizer.decoding import UnreadableImage
from ..tokenizer.devices import default_device
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.images import ClassLabels, ImageSource, load_image_source
from ..tokenizer.interface import TokenizesImages
from ..tokenizer.loading import load_image_tokenizer
from ..tokenizer.padding import Box
from .labelled_pictures import (
    LabelledPictures,
    check_other_pictures,
    check_several_classes,
    labelled_pictures,
    with_same_classes,
)
from .sample_arms import PictureArm, balanced_rows, class_counts, decoded_arm, one_box, real_arm
from .sample_distances import NEIGHBOURS
from .sample_shards import DrawClasses, SampleTimes, write_samples
from .samples_config import SamplesEvaluation
from .text_to_image import TextToImagePipeline

REAL, DECODED, SAMPLES = "real", "decoded", "samples"
"""Arms: training pictures, what a tokenizer makes of them, and what was drawn."""


@dataclass(frozen=True, eq=False)
class SampleInput:
    """Everything that is compared.

    Attributes:
        names: of the classes.
        learned: all training pictures.
        measured: all test pictures.
        arms: by name, N pictures or a few less each; no `DECODED` without a tokenizer.
        decoded_test: test pictures, encoded and decoded; None without a tokenizer.
        times: what drawing took; None if others drew.
        origin: who drew the samples, and how.
        failures: pictures that cannot be read, each as "key (reason)".
    """

    names: Sequence[str]
    learned: PictureArm
    measured: PictureArm
    arms: dict[str, PictureArm]
    decoded_test: PictureArm | None
    times: SampleTimes | None
    origin: dict[str, Any]
    failures: list[str]


@dataclass(frozen=True, eq=False)
class _Source:
    """Who makes tensors and decoded pictures; no tokenizer without a model."""

    processor: ImageTokenizerImageProcessorPil
    tokenizer: TokenizesImages | None
    bundle: Bundle | None = None


def open_input(what: SamplesEvaluation) -> SampleInput:
    """Opens real pictures, and opens or draws the samples.

    Raises:
        InputError: something is missing or does not fit.
    """
    check_other_pictures(what.data, what.split, what.reference_split)
    source = _open_source(what)
    reference, test = (
        labelled_pictures(what.data, split, source.processor, column=what.column or None)
        for split in (what.reference_split, what.split)
    )
    learned, measured = with_same_classes(reference, test)
    check_several_classes(learned)
    names, box = learned.labels.names, _common_box(learned, measured)
    _check_counts(what, learned, measured)
    rows = balanced_rows(learned.classes, what.num_images, len(names), what.seed)
    samples, times, origin = _samples(what, source, box, learned)
    everything, decoded_test = real_arm(learned, box), None
    arms = {REAL: everything.of(torch.tensor(rows))}
    if source.tokenizer is not None:
        arms[DECODED] = decoded_arm(learned, rows, source.tokenizer, box, "decode training pictures")
        every = range(len(measured.dataset))
        decoded_test = decoded_arm(measured, every, source.tokenizer, box, "decode test pictures")
    failures = [*learned.failures, *measured.failures, *samples.failures]
    arms[SAMPLES] = _beginning(real_arm(samples, box), what.num_images, len(names))
    return SampleInput(names, everything, real_arm(measured, box), arms, decoded_test, times, origin, failures)


def _common_box(learned: LabelledPictures, measured: LabelledPictures) -> Box:
    """Where the pictures of both splits lie in their tensors; raises `InputError` if not all are of one size."""
    box, other = one_box(learned.dataset), one_box(measured.dataset)
    if box != other:
        sizes = [f"{each.height}x{each.width}" for each in (box, other)]
        raise InputError(f"both splits must have pictures of one size, got {sizes[0]} and {sizes[1]}")
    return box


def _check_counts(what: SamplesEvaluation, learned: LabelledPictures, measured: LabelledPictures) -> None:
    """Arms are of equal size, two pictures of a class have a covariance, three neighbours need more: said at once."""
    names, splits = learned.labels.names, {what.reference_split: learned, what.split: measured}
    num_classes = len(names)
    _check_enough_learned(what, names, torch.bincount(learned.classes, minlength=num_classes).tolist())
    fewest = {"num_images": what.num_images // num_classes}
    fewest |= {split: int(torch.bincount(each.classes, minlength=num_classes).min()) for split, each in splits.items()}
    if "fd" in what.metrics and min(fewest.values()) < 2:
        raise InputError(f"fd needs two pictures of every class, got {fewest}; leave it out of metric")
    counts = {"num_images": what.num_images} | {split: len(each.classes) for split, each in splits.items()}
    if "precision-recall" in what.metrics and min(counts.values()) <= NEIGHBOURS:
        raise InputError(f"precision-recall needs more than {NEIGHBOURS} pictures, got {counts}")


def _check_enough_learned(what: SamplesEvaluation, names: Sequence[str], counts: Sequence[int]) -> None:
    """The arms of real and decoded pictures are as large as that of samples, class by class."""
    if missing := [name for name, count in zip(names, counts, strict=True) if not count]:
        raise InputError(f"split {what.reference_split} has no pictures of {', '.join(missing[:5])} to compare with")
    for name, count, wanted in zip(names, counts, class_counts(what.num_images, len(names)), strict=True):
        if count < wanted:
            raise InputError(
                f"num_images of {what.num_images} takes {wanted} pictures of each class, split {what.reference_split} "
                f"has {count} of {name}; at most {min(counts) * len(names)} will do"
            )


def _open_source(what: SamplesEvaluation) -> _Source:
    if not what.samples:
        bundle = Bundle.from_pretrained(what.model).to(default_device())
        return _Source(bundle.image_processor, bundle.image_tokenizer, bundle)
    if what.tokenizer:
        loaded = load_image_tokenizer(what.tokenizer)
        return _Source(loaded.processor, loaded.model.to(default_device()).eval())
    return _Source(native_processor(what.data, what.reference_split), None)


def native_processor(data: str, split: str) -> ImageTokenizerImageProcessorPil:
    """Makes tensors of the pictures' own size, the first one's where it matters, grey if all pictures are."""
    pictures = _readable(load_image_source(data, split))
    if (first := next(pictures, None)) is None:
        raise InputError(f"split {split} of {data} holds no picture that can be read")
    size = {"height": first.height, "width": first.width}
    grey = all(map(_is_grey, itertools.chain([first], pictures)))
    return ImageTokenizerImageProcessorPil(size=size, do_resize=False, num_channels=1 if grey else 3)


def _readable(source: ImageSource) -> Iterator[Image.Image]:
    for row in range(len(source)):
        with contextlib.suppress(UnreadableImage):
            yield source.read(row)


def _is_grey(image: Image.Image) -> bool:
    if image.mode in ("1", "L"):
        return True
    red, green, blue = (channel.tobytes() for channel in image.convert("RGB").split())
    return red == green == blue


def _samples(
    what: SamplesEvaluation, source: _Source, box: Box, learned: LabelledPictures
) -> tuple[LabelledPictures, SampleTimes | None, dict[str, Any]]:
    """The samples, what drawing took, and who drew."""
    times, folder, origin = None, what.samples, {"samples": what.samples}
    if source.bundle is not None:
        folder = str(Path(what.output) / "samples")
        times, origin = _draw(what, source.bundle, box, learned, Path(folder))
    samples = _of_same_classes(
        labelled_pictures(folder, "train", source.processor, column=_column_of(what)), learned.labels
    )
    if what.samples:
        _check_alike(samples.dataset.source, learned.dataset.source, source.processor.num_channels)
    return samples, times, origin


def _draw(
    what: SamplesEvaluation, bundle: Bundle, box: Box, learned: LabelledPictures, folder: Path
) -> tuple[SampleTimes, dict[str, Any]]:
    """Draws what is missing of the samples in a folder; what that took, and how they are drawn."""
    names, sampling = learned.labels.names, sampling_of(what).of_model(bundle.image_generation_config)
    sampling.schedule([], bundle.vocabulary.num_levels)  # raises before the folder is claimed
    size, prompts = size_of_pictures(bundle, learned), prompts_of(what, names)
    origin = {"fingerprint": bundle.fingerprint, "sampling": asdict(sampling), "size": [box.height, box.width]}
    origin |= {"prompts": prompts} if what.prompts else {}
    draw = bundle_draws(bundle, prompts, sampling, size, box, what.batch_size)
    return write_samples(folder, draw, names, what.num_images, seed=what.seed, origin=origin), origin


def _column_of(what: SamplesEvaluation) -> str | None:
    """Where the classes of samples stand: in the column of the real ones if they have such a column."""
    features = load_image_source(what.samples, "train").features if what.samples and what.column else {}
    return what.column if what.column in features else None


def _of_same_classes(samples: LabelledPictures, real: ClassLabels) -> LabelledPictures:
    """Samples whose classes have the numbers of the real ones; of texts, they may lack some."""
    labels = samples.labels
    if labels.are_texts and set(labels.names) <= set(real.names):
        labels = labels.renamed(real.names)
    if list(labels.names) != list(real.names):
        raise InputError(f"samples must have the classes {list(real.names)}, got {list(labels.names)}")
    return replace(samples, labels=labels)


def _check_alike(samples: ImageSource, real: ImageSource, num_channels: int) -> None:
    """A processor would make them alike, and what it does to samples alone would count as their fault, or hide one."""
    expected = real.read(0).size
    for row in range(len(samples)):
        picture = samples.read(row)
        if picture.size != expected:
            spelled = ["x".join(map(str, each)) for each in (expected, picture.size)]
            raise InputError(f"samples must have the size of the real pictures, {spelled[0]}, got {spelled[1]}")
        if num_channels == 1 and not _is_grey(picture):
            raise InputError(f"the real pictures are grey, samples must be too; {samples.key(row)} has colours")


def size_of_pictures(bundle: Bundle, pictures: LabelledPictures) -> str:
    """The bundle's name of the size that pictures have in their tensors, all the same.

    Raises:
        InputError: it does not draw such pictures.
    """
    height, width = pictures.dataset.pixels([0]).shape[2:]
    return bundle.vocabulary.size_of(bundle.image_tokenizer.config.grids(height, width))


def prompts_of(what: SamplesEvaluation, names: Sequence[str]) -> list[str]:
    """What the bundle is to draw for each class.

    Raises:
        InputError: there are more or fewer than classes.
    """
    prompts = entries(what.prompts) if what.prompts else list(names)
    if len(prompts) != len(names):
        raise InputError(f"prompts must be one for each of {len(names)} classes ({', '.join(names)}), got {prompts}")
    return prompts


def bundle_draws(
    bundle: Bundle, prompts: Sequence[str], sampling: ImageSampling, size: str, box: Box, batch_size: int
) -> DrawClasses:
    """Draws classes by their prompts, as captions, in one of the bundle's sizes, and cuts the pictures to `box`."""
    pipeline = TextToImagePipeline(bundle)
    edges = box.left, box.top, box.left + box.width, box.top + box.height

    def draw(classes: Sequence[int], seeds: Sequence[int]) -> list[Image.Image]:
        asked = [prompts[number] for number in classes]
        drawn = pipeline(asked, seed=seeds, size=size, batch_size=batch_size, **asdict(sampling))
        return [image.crop(edges) for image in drawn.images]

    return draw


def sampling_of(what: SamplesEvaluation) -> ImageSampling:
    """How codes are drawn, where the settings say so.

    Raises:
        InputError: a value is no number.
    """
    guidance_scale = _per_level("guidance_scale", what.guidance_scale)
    return ImageSampling(
        guidance_scale=1.0 if guidance_scale is None else guidance_scale,
        temperature=_per_level("temperature", what.temperature),
        top_p=_per_level("top_p", what.top_p),
    )


def _per_level(name: str, text: str) -> PerLevel | None:
    values = numbers(name, text)
    return values[0] if len(values) == 1 else values or None


def _beginning(arm: PictureArm, count: int, num_classes: int) -> PictureArm:
    """The first pictures of each class, as many of each as a set of `count` has; fewer would be another arm."""
    wanted = class_counts(count, num_classes)
    for number, most in enumerate(wanted):
        if (found := int((arm.classes == number).sum())) < most:
            raise InputError(f"samples must have {most} pictures of class {number}, got {found}; lower num_images")
    rows = [(arm.classes == number).nonzero().squeeze(1)[:most] for number, most in enumerate(wanted)]
    return arm.of(torch.cat(rows).sort().values)
