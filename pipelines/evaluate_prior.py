"""The rate of a prior on a split of a dataset of codes, beside its training pictures' and another prior's."""

from __future__ import annotations

import math
import os
from typing import Any

from ..hub.errors import InputError
from ..hub.files import check_new_file, write_json
from ..lm.bundle import Bundle
from ..lm.documents import image_to_text, images_to_ids, text_to_image
from ..lm.image_bits import DOCUMENT_KINDS, ImageBits, measure_images
from ..lm.image_bits_file import check_bits_file, write_image_bits
from ..lm.rate import TOKENS_AT_ONCE, Rate, measure_rate
from ..lm.rate_report import PictureShape, report_rates, unpaired_difference
from ..tokenizer.codes_dataset import CodesDataset, load_codes
from ..tokenizer.progress import progress_bar
from .bundle_pipeline import check_positive
from .evaluation_input import EvaluationInput, choose_rows, open_bundle

_CONVENTIONS = {
    "bits": "-log2 p, p renormalised over the ids that are legal at the place; the mass on illegal ids is apart",
    "caption_bits": "of a picture's first caption: its text and the token that ends it, <eos> behind a picture and "
    "<image HxW> before one; p renormalised over text and that token, over text alone for the first token",
    "bytes": "of the caption in UTF-8; its end counts for none",
    "interval": "95 %, 1.96 standard errors over pictures to either side; told_by_* and difference are paired by "
    "picture, gap is not",
}


def evaluate_prior(
    model: str,
    codes: str,
    split: str,
    *,
    train_split: str | None = None,
    against: str | None = None,
    max_images: int | None = None,
    batch_size: int | None = None,
    per_image: str | os.PathLike[str] | None = None,
    output: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Measures what a prior spends on the codes and captions of a split.

    Args:
        model: the bundle, see `Bundle.from_pretrained`.
        codes: the dataset of codes, see `load_codes`. Of several views of a picture the plain one counts, of several
            captions the first.
        split: the pictures to measure.
        train_split: other pictures, of which equally many are measured, drawn by a fixed seed.
        against: another bundle for the same codes, measured on the same pictures.
        max_images: most pictures to take, drawn by a fixed seed; None takes all.
        batch_size: documents at a time; by default as many as make 4096 tokens.
        per_image: a .parquet or .jsonl file for the bits of every picture, see `write_image_bits`.
        output: a JSON file for what is returned.

    Returns:
        `num_images`; `num_captions`, those that were scored; `num_too_long`, those that the context cannot hold;
        `rate`, see `RateReport`; with `train_split` also `train`, a report as well, and `gap = rate - train`, unpaired;
        with `against` also `other` and `difference = rate - other`, paired; `protocol`, what the figures depend on.

    Raises:
        InputError: a bundle, codes or split are missing or do not belong together, or an argument is out of its range.
    """
    if batch_size is not None:
        check_positive("batch_size", batch_size)
    if output is not None:
        check_new_file(output)
    if per_image is not None:
        check_bits_file(per_image)
    if train_split == split:
        raise InputError(f"train_split must be another split than the one measured, {split!r}")
    measured = EvaluationInput.open(model, codes, split, max_images)
    passes = {"rate": (measured.bundle, measured.codes, measured.rows)}
    if train_split is not None:
        train = load_codes(codes, train_split)
        passes["train"] = (measured.bundle, train, choose_rows(train, len(measured.rows)))
    if against is not None:
        passes["other"] = (_other_bundle(against, measured.bundle), measured.codes, measured.rows)
    with progress_bar("documents", len(DOCUMENT_KINDS) * sum(len(rows) for _, _, rows in passes.values())) as advance:
        bits = {name: measure_images(*what, batch_size=batch_size, progress=advance) for name, what in passes.items()}
    result = {
        "num_images": len(measured.rows),
        "num_captions": int((~bits["rate"].caption.isnan()).sum()),
        "num_too_long": int(bits["rate"].too_long.sum()),
        **_reports(bits, _picture_shape(measured)),
        "protocol": {
            **measured.protocol,
            "train_split": train_split,
            "against": against,
            "batch_size": batch_size or f"{TOKENS_AT_ONCE} tokens",
            "size": "x".join(map(str, _picture_size(measured.bundle))),
            "grids": " ".join(f"{rows}x{columns}" for rows, columns in measured.codes.shared_grids),
            **_CONVENTIONS,
        },
    }
    if per_image is not None:
        write_image_bits(per_image, [measured.codes.keys[row] for row in measured.rows], bits["rate"])
    if output is not None:
        write_json(output, result)
    return result


def _other_bundle(name: str, bundle: Bundle) -> Bundle:
    other = open_bundle(name)
    found, expected = other.vocabulary.codes_fingerprint, bundle.vocabulary.codes_fingerprint
    if found != expected:
        raise InputError(f"{name} speaks codes {found[:12]}..., expected {expected[:12]}...: they cannot be compared")
    return other


def _picture_size(bundle: Bundle) -> tuple[int, int, int]:
    """Height, width and channels of every picture as the tokenizer sees it."""
    processor = bundle.image_processor
    return processor.size["height"], processor.size["width"], processor.num_channels


def _picture_shape(measured: EvaluationInput) -> PictureShape:
    codes_per_level = [rows * columns for rows, columns in measured.codes.shared_grids]
    return PictureShape(codes_per_level, math.prod(_picture_size(measured.bundle)))


def _reports(bits: dict[str, ImageBits], shape: PictureShape) -> dict[str, dict[str, Any]]:
    """The reports of all passes, and of what sets the first one apart from the others."""
    reports = {name: report_rates(some, shape) for name, some in bits.items()}
    if "train" in bits:
        reports["gap"] = unpaired_difference(reports["rate"], reports["train"])
    if "other" in bits:
        reports["difference"] = report_rates(bits["rate"].minus(bits["other"]), shape)
    return {name: report.to_dict() for name, report in reports.items()}


def prior_rates(bundle: Bundle, codes: CodesDataset) -> dict[str, Rate]:
    """The rate of every row's first caption and codes, as text to image and as image to text."""
    vocabulary = bundle.vocabulary
    size = vocabulary.size_of(codes.shared_grids)
    image_ids = images_to_ids(vocabulary, codes.codes(range(len(codes))))
    captions = [bundle.text_tokenizer.encode(codes.captions(row)[0]) for row in range(len(codes))]
    pairs = list(zip(captions, image_ids, strict=True))
    documents = {
        "text_to_image": [text_to_image(vocabulary, caption, image, size) for caption, image in pairs],
        "image_to_text": [image_to_text(vocabulary, image, caption, size) for caption, image in pairs],
    }
    return {name: measure_rate(bundle.prior, bundle.grammar, group) for name, group in documents.items()}
