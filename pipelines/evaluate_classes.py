"""A prior as a classifier of a split whose captions form a small set; see `lm/caption_classifier.py`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import torch
from datasets import ClassLabel

from ..hub.errors import InputError
from ..hub.files import check_new_file, write_json
from ..lm.caption_classifier import CaptionPosteriors, classify_captions
from ..lm.estimates import estimate, share
from ..tokenizer.codes_dataset import CodesDataset
from ..tokenizer.codes_stream import as_captions
from ..tokenizer.progress import progress_bar
from ..tokenizer.reconstructions import row_batches
from .bundle_pipeline import check_positive
from .evaluation_input import EvaluationInput

_MOST_CLASSES = 1000
_ROWS_AT_ONCE = 256


@dataclass(frozen=True)
class _Classes:
    """The classes of a split.

    Attributes:
        names: what the prior is asked for.
        of_row: index of every row's class; -1 for a row without one.
    """

    names: list[str]
    of_row: torch.Tensor


def evaluate_classes(
    model: str,
    codes: str,
    split: str,
    *,
    column: str = "caption",
    method: str = "codes",
    prior: str = "uniform",
    max_images: int | None = None,
    batch_size: int | None = None,
    output: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Classifies the pictures of a split by the captions that they could have.

    Args:
        model: the bundle, see `Bundle.from_pretrained`.
        codes: the dataset of codes, see `load_codes`.
        split: the pictures. Those without a class are left out.
        column: holds the classes: texts (the first one, of several captions) or class labels, whose names are taken.
        method: "codes" or "caption", see `classify_captions`.
        prior: of the classes, see `classify_captions`.
        max_images: most pictures to take, drawn by a fixed seed; None takes all.
        batch_size: pairs of a picture and a class at a time.
        output: a JSON file for what is returned.

    Returns:
        `num_images`; `classes`; `accuracy` with Wilson's 95 % interval; `cross_entropy`, the mean bits of the true
        class, with its interval; `class_entropy`, bits of the histogram of true classes, which is what somebody spends
        who knows that and not the picture; `confusion`, one row of counts per true class, one column per predicted one;
        `protocol`.

    Raises:
        InputError: no such column, no classes in it or more than 1000; or see `classify_captions` and `load_codes`.
    """
    if batch_size is not None:
        check_positive("batch_size", batch_size)
    if output is not None:
        check_new_file(output)
    given = EvaluationInput.open(model, codes, split, max_images)
    classes = _read_classes(given.codes, column)
    rows = [row for row in given.rows if classes.of_row[row] >= 0]
    if not rows:
        raise InputError(f"none of the pictures has a class in column {column!r}")
    posteriors = []
    with progress_bar("pairs", len(rows) * len(classes.names)) as advance:
        for places in row_batches(len(rows), _ROWS_AT_ONCE):
            some = given.codes.codes([rows[place] for place in places])
            options: dict[str, Any] = {"method": method, "prior": prior, "batch_size": batch_size}
            posteriors.append(classify_captions(given.bundle, some, classes.names, **options, progress=advance))
    scores = _scores(posteriors, classes.of_row[rows], len(classes.names))
    protocol = given.protocol | {"column": column, "method": method, "prior": prior}
    result = {"num_images": len(rows), "classes": classes.names, **scores, "protocol": protocol}
    if output is not None:
        write_json(output, result)
    return result


def _scores(posteriors: list[CaptionPosteriors], truth: torch.Tensor, count: int) -> dict[str, Any]:
    predicted = torch.cat([part.predicted for part in posteriors])
    spent = -torch.cat([part.log2_posterior for part in posteriors]).gather(1, truth[:, None]).squeeze(1)
    confusion = torch.bincount(truth * count + predicted, minlength=count**2).view(count, count)
    frequencies = confusion.sum(1) / len(truth)
    return {
        "accuracy": share(int((predicted == truth).sum()), len(truth)).to_dict(),
        "cross_entropy": estimate(spent).to_dict(),
        "class_entropy": float(torch.special.entr(frequencies.double()).sum() / math.log(2)),
        "confusion": confusion.tolist(),
    }


def _read_classes(codes: CodesDataset, column: str) -> _Classes:
    """The classes of a column; texts in the order of their code points."""
    dataset = codes.dataset
    if column not in dataset.column_names:
        raise InputError(f"the codes have no column {column!r}; there are {', '.join(dataset.column_names)}")
    values = list(dataset[column])
    feature = dataset.features[column]
    if isinstance(feature, ClassLabel):
        names = list(feature.names)
        labels = [-1 if value is None else value for value in values]
    else:
        texts = [_text(value, column) for value in values]
        names = sorted(set(texts) - {""})
        number = {name: index for index, name in enumerate(names)}
        labels = [number.get(text, -1) for text in texts]
    if not 0 < len(names) <= _MOST_CLASSES:
        raise InputError(f"column {column!r} holds {len(names)} classes, expected 1 to {_MOST_CLASSES}")
    return _Classes(names, torch.tensor(labels))


def _text(value: Any, column: str) -> str:
    first = "" if value is None else as_captions(value)[0] if isinstance(value, str | list) else value
    if not isinstance(first, str):
        raise InputError(f"column {column!r} must hold texts or class labels with names, got {value!r}")
    return first
