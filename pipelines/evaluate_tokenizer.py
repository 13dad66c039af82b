"""The score of an image tokenizer on a split of a dataset, with all that the figures depend on."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers.image_utils import PILImageResampling

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator
from ..tokenizer.devices import default_device
from ..tokenizer.feature_space import THUMBNAIL, load_feature_space
from ..tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from ..tokenizer.image_processor import ImageTokenizerImageProcessorPil
from ..tokenizer.loading import LoadedImageTokenizer, load_image_tokenizer
from ..tokenizer.pictures import reconstruction_grid, save_picture
from ..tokenizer.pixel_dataset import PixelDataset
from ..tokenizer.progress import progress_bar
from ..tokenizer.report import Reference, report_on_tokenizer
from ..tokenizer.speed import measure_speed
from .picture_sample import PictureSample, picture_sample

NO_FEATURES = "none"

_SEED = 0
_NUM_EXAMPLES = 8


def evaluate_image_tokenizer(
    model: str,
    data: str,
    split: str,
    *,
    reference_split: str = "train",
    features: str = THUMBNAIL,
    max_images: int | None = None,
    picture: str | None = None,
    batch_size: int = 64,
) -> dict[str, Any]:
    """Measures an image tokenizer on a split.

    Args:
        model: folder of the tokenizer.
        data: see `load_image_source`.
        split: the pictures to measure.
        reference_split: other pictures of `data`, for held-out code tables, majority votes and the Fréchet distance.
            Where it is `split` itself, nothing is held out.
        features: for the Fréchet distance: "thumbnail", a module's file (see `load_feature_space`), or "none".
        max_images: most pictures to take of either split, drawn by a fixed seed; None takes all.
        picture: PNG file for a few pictures beside their decodings; None draws none.
        batch_size: pictures at a time.

    Returns:
        The figures of `TokenizerReport`; `seconds_per_image`, the only one that differs the next time (see `Speed`);
        `protocol`, what the figures depend on; `failures`, pictures that cannot be read.

    Raises:
        InputError: model, data, split or features are missing or damaged, or a number is below 1.
    """
    for name, value in {"max_images": max_images, "batch_size": batch_size}.items():
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    feature_space = None if features == NO_FEATURES else load_feature_space(features)
    loaded = load_image_tokenizer(model)
    loaded.model.to(default_device())
    measured = picture_sample(data, split, loaded.processor, max_images, _SEED)
    # A single file is read whole whatever the split, so its "other" split would be the same pictures again.
    is_same = reference_split == split or Path(data).expanduser().is_file()
    reference = None if is_same else picture_sample(data, reference_split, loaded.processor, max_images, _SEED)
    if picture is not None:
        save_picture(_examples(loaded, measured.dataset), picture)
    total = len(measured.dataset) + (len(reference.dataset) if reference else 0)
    with progress_bar("evaluate", total) as advance:
        report = report_on_tokenizer(
            loaded.model,
            measured.dataset,
            split=split,
            reference=reference and Reference(reference_split, reference.dataset),
            feature_space=feature_space,
            batch_size=batch_size,
            progress=advance,
        )
    first = measured.dataset.pixels(range(min(batch_size, len(measured.dataset))))
    failures = measured.listed + (reference.listed if reference else [])
    return report.to_dict() | {
        "seconds_per_image": asdict(measure_speed(loaded.model, first)),
        "protocol": _protocol(loaded, data, measured, reference, max_images, batch_size),
        "failures": failures,
    }


def _examples(loaded: LoadedImageTokenizer, dataset: PixelDataset) -> Image.Image:
    order = torch.randperm(len(dataset), generator=derived_generator(_SEED, "examples"))
    pixel_values = dataset.pixels(sorted(order[:_NUM_EXAMPLES].tolist())).to(loaded.model.device)
    return reconstruction_grid(loaded.model, pixel_values)


def _protocol(
    loaded: LoadedImageTokenizer,
    data: str,
    measured: PictureSample,
    reference: PictureSample | None,
    max_images: int | None,
    batch_size: int,
) -> dict[str, str | int]:
    """All that the figures depend on, in words and numbers."""
    config, processor = loaded.model.config, loaded.processor
    _, height, width = measured.dataset[0].shape
    grids, labels = config.grids(height, width), measured.dataset.source.class_labels()
    return {
        "library": f"pictogram {version('pictogram')}, torch {version('torch')}",
        "data": data,
        "split": measured.split,
        "num_images": len(measured.dataset),
        "reference_split": reference.split if reference else "none",
        "num_reference_images": len(reference.dataset) if reference else 0,
        "choice": "all pictures" if max_images is None else f"at most {max_images} of a split, seed {_SEED}",
        "batch_size": batch_size,
        "class_column": labels.column if labels else "none",
        "size": f"{height}x{width}",
        "preprocessing": _preparation(processor),
        "region": "the pictures without their padding" if processor.do_pad else "whole pictures",
        "rounding": "8-bit values floor(127.5 v + 128) of v in [-1, 1], clamped to 0..255",
        "ssim": "Wang et al. 2004, 11x11 Gaussian window of 1.5 pixels, whole windows only, mean over channels",
        "thumbnail": "mean of every channel over 8x8 cells, values in [-1, 1]",
        "grids": " ".join(f"{rows}x{columns}" for rows, columns in grids),
        "codebook_sizes": " ".join(map(str, config.codebook_sizes)),
        "codes_fingerprint": codes_fingerprint(loaded.model, processor),
        "decoder_fingerprint": decoder_fingerprint(loaded.model),
    }


def _preparation(processor: ImageTokenizerImageProcessorPil) -> str:
    resample = PILImageResampling(processor.resample).name.lower()
    if not processor.do_resize:
        way = "native size"
    elif processor.do_pad:
        way = f"padded; larger pictures shrunk whole ({resample})"
    elif processor.do_center_crop:
        way = f"resized to cover and cropped at the centre ({resample})"
    else:
        way = f"stretched ({resample})"
    colours = "grey" if processor.num_channels == 1 else "RGB"
    return f"{colours}; {way}; pictures of the right size untouched"
