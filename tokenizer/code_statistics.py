"""What codes cost and what they tell: use of the codebooks, bits under simple models, classes in the whole-image code.

Bits come in two kinds. Those under a set's own histogram flatter it: with few pictures and many codes, the histogram
nearly lists the set. Those under the histogram of *other* pictures are what a fixed code table would really cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from .clustering_scores import contingency_table
from .interface import ImageCodes


@dataclass(frozen=True)
class CodeStatistics:
    """Figures over the codes of N pictures; lists have one entry a level, coarse to fine.

    Attributes:
        usage: share of the codes that occur at all, 0..1.
        perplexity: 2 to the entropy of the code histogram, 1..K.
        static_bits: bits per image under one histogram per level, made of these very pictures.
        position_bits: the same with one histogram per level and position.
        reference_bits: bits per image under one distribution per level, estimated from the reference pictures: count
            n_k of N codes gives (n_k + 1/2) / (N + K/2), the estimator of Krichevsky and Trofimov 1981, so that a code
            that never occurred there costs bits and not infinity. None without reference.
        reference_position_bits: the same with one distribution per level and position.
        codes_per_image: codes of all levels.
        bits_per_image_raw: sum of log2 K over those codes: bits without any model.
    """

    usage: list[float]
    perplexity: list[float]
    static_bits: list[float]
    position_bits: list[float]
    reference_bits: list[float] | None
    reference_position_bits: list[float] | None
    codes_per_image: int
    bits_per_image_raw: float


@dataclass(frozen=True)
class ClassInformation:
    """What the whole-image code tells of a picture's class.

    Attributes:
        num_labelled: pictures with a label; the others are left out.
        num_classes: classes there are.
        mutual_information: bits, between code and class of these pictures; few pictures a code make it too high.
        class_entropy: bits, of the classes of these pictures: the most that mutual information can be.
        nmi: mutual information over the mean of the two entropies, 0..1; does not compare between codebook sizes.
        majority_vote: share of pictures whose class is the most frequent one of their code in the reference pictures,
            0..1. A tie goes to the class of the lower number, a code that never occurs there means the most frequent
            class of all. None without reference.
    """

    num_labelled: int
    num_classes: int
    mutual_information: float
    class_entropy: float
    nmi: float
    majority_vote: float | None


def measure_codes(
    codes: ImageCodes, codebook_sizes: Sequence[int], reference: ImageCodes | None = None
) -> CodeStatistics:
    """Measures codes by themselves and, if there are any, under the histograms of reference codes.

    Args:
        codes: one integer (N, h_l, w_l) per level.
        codebook_sizes: K of each level.
        reference: codes of other pictures, with the same grids.

    Raises:
        InputError: the reference has other grids.
    """
    grids = [tuple(level.shape[1:]) for level in codes]
    if reference is not None and [tuple(level.shape[1:]) for level in reference] != grids:
        raise InputError(
            f"reference codes need the grids {grids}, got {[tuple(level.shape[1:]) for level in reference]}"
        )
    flat = [level.flatten(1) for level in codes]  # each (N, P)
    others = None if reference is None else [level.flatten(1) for level in reference]
    sizes = list(codebook_sizes)
    histograms = [_histogram(level, size) for level, size in zip(flat, sizes, strict=True)]
    per_image = [level.shape[1] for level in flat]
    return CodeStatistics(
        usage=[float((histogram > 0).double().mean()) for histogram in histograms],
        perplexity=[2 ** entropy(histogram) for histogram in histograms],
        static_bits=[entropy(histogram) * count for histogram, count in zip(histograms, per_image, strict=True)],
        position_bits=[_position_bits(level, size) for level, size in zip(flat, sizes, strict=True)],
        reference_bits=None
        if others is None
        else [held_out_bits(level, other, size) for level, other, size in zip(flat, others, sizes, strict=True)],
        reference_position_bits=None
        if others is None
        else [held_out_position_bits(*level) for level in zip(flat, others, sizes, strict=True)],
        codes_per_image=sum(per_image),
        bits_per_image_raw=math.fsum(count * math.log2(size) for count, size in zip(per_image, sizes, strict=True)),
    )


def entropy(histogram: torch.Tensor) -> float:
    """Bits per draw of an empirical distribution, from its counts of any shape.

    Example:
        >>> entropy(torch.tensor([3, 3, 0]))
        1.0
    """
    shares = histogram[histogram > 0].double() / histogram.sum()
    return abs(float(-(shares * shares.log2()).sum()))  # abs: no minus zero


def held_out_bits(codes: torch.Tensor, reference: torch.Tensor, codebook_size: int) -> float:
    """Bits per row of `codes` under the distribution that `reference` suggests (Krichevsky and Trofimov 1981).

    Args:
        codes: integers (N, ...).
        reference: integers of any shape.
        codebook_size: K.
    """
    counts = _histogram(reference, codebook_size).double()
    bits = -((counts + 0.5) / (counts.sum() + codebook_size / 2)).log2()  # (K,)
    return float((bits * _histogram(codes, codebook_size)).sum()) / len(codes)


def held_out_position_bits(codes: torch.Tensor, reference: torch.Tensor, codebook_size: int) -> float:
    """The same for (N, P) codes with a distribution per position, from (M, P) reference codes."""
    columns = zip(codes.T, reference.T, strict=True)
    return math.fsum(held_out_bits(column, other, codebook_size) for column, other in columns)


def measure_classes(
    codes: torch.Tensor,
    labels: torch.Tensor,
    codebook_size: int,
    num_classes: int,
    reference: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> ClassInformation | None:
    """Measures what codes tell of classes; None if no picture has a label.

    Args:
        codes: integers (N,), a whole-image code per picture.
        labels: integers (N,), 0..num_classes - 1, or negative for a picture without label.
        codebook_size: K.
        num_classes: classes there are.
        reference: codes and labels of other pictures.
    """
    table = _contingency(codes, labels, codebook_size, num_classes)
    if not table.sum():
        return None
    code_entropy, class_entropy = entropy(table.sum(1)), entropy(table.sum(0))
    information = max(0.0, code_entropy + class_entropy - entropy(table))
    mean_entropy = (code_entropy + class_entropy) / 2
    return ClassInformation(
        num_labelled=int(table.sum()),
        num_classes=num_classes,
        mutual_information=information,
        class_entropy=class_entropy,
        nmi=information / mean_entropy if mean_entropy else 1.0,  # one code and one class: they agree
        majority_vote=None
        if reference is None
        else _majority_vote(table, _contingency(*reference, codebook_size, num_classes)),
    )


def _position_bits(codes: torch.Tensor, size: int) -> float:
    """Bits per row of (N, P) codes under one histogram per position, made of these very codes."""
    return math.fsum(entropy(_histogram(column, size)) for column in codes.T)


def _histogram(codes: torch.Tensor, size: int) -> torch.Tensor:
    return torch.bincount(codes.flatten(), minlength=size)


def _contingency(codes: torch.Tensor, labels: torch.Tensor, codebook_size: int, num_classes: int) -> torch.Tensor:
    """(K, Y) counts of the labelled pictures."""
    labelled = labels >= 0
    return contingency_table(codes[labelled], labels[labelled], (codebook_size, num_classes))


def _majority_vote(table: torch.Tensor, reference: torch.Tensor) -> float | None:
    """Share of `table`, (K, Y) counts, in the classes that `reference`, (K, Y) counts, says are most frequent."""
    if not reference.sum():
        return None
    votes = torch.where(reference.sum(1) > 0, reference.argmax(1), reference.sum(0).argmax())  # (K,), first of equals
    return float(table.gather(1, votes[:, None]).sum() / table.sum().double())
