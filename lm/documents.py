"""Documents: one joint sequence of text and image segments, built from segments and parsed back into them.

    <bos> caption <image HxW> codes </image> <eos>      text to image
    <bos> <image HxW> codes </image> caption <eos>      image to text
    <bos> <null> <image HxW> codes </image> <eos>       unconditional

These three are presets of `build_document`, which takes any list of segments. Documents are plain lists of ids, the
`input_ids` of any trainer. Text enters as ids of the text tokenizer, which has no special strings, so a caption that
holds "<bos>" or "</image>" stays text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

import torch

from ..hub.errors import InputError
from .grammar import Grammar
from .order import ImageCodes, document_order, flatten, unflatten
from .segments import EOS
from .vocabulary import JointVocabulary


@dataclass(frozen=True)
class TextSegment:
    """Text, as ids of the text tokenizer."""

    ids: tuple[int, ...]


@dataclass(frozen=True)
class ImageSegment:
    """One image: the ids of its codes in document order, without the two control tokens, and the name of its size."""

    ids: tuple[int, ...]
    size: str


@dataclass(frozen=True)
class NullSegment:
    """Stands where a caption would: the image that follows comes without words."""


Ids = Iterable[int] | torch.Tensor  # any ints in a row, or a LongTensor (N,)
DocumentSegment = TextSegment | ImageSegment | NullSegment


def images_to_ids(vocabulary: JointVocabulary, codes: ImageCodes) -> torch.Tensor:
    """The ids of a batch of images of one size: LongTensor (B, N) in document order.

    Args:
        vocabulary: the joint vocabulary, which knows the order.
        codes: one LongTensor (B, h_l, w_l) per level, coarse to fine.

    Raises:
        InputError: the grids are no size of the vocabulary, or a code is outside its codebook.
    """
    vocabulary.size_of([level.shape[-2:] for level in codes])
    ids = tuple(vocabulary.codes_to_ids(level, grid.long()) for level, grid in enumerate(codes))
    return flatten(ids, vocabulary.order)


def ids_to_images(vocabulary: JointVocabulary, ids: torch.Tensor, size: str) -> ImageCodes:
    """The inverse of `images_to_ids`.

    Args:
        vocabulary: the joint vocabulary.
        ids: LongTensor (B, N), the codes of B images without their control tokens.
        size: name of their size, such as "4x4".

    Raises:
        InputError: unknown size, a wrong number of codes, or an id that is no code of the level at its place.
    """
    grids = unflatten(ids, vocabulary.grids(size), vocabulary.order)
    return tuple(vocabulary.ids_to_codes(level, grid) for level, grid in enumerate(grids))


def text_to_image(vocabulary: JointVocabulary, text_ids: Ids, image_ids: Ids, size: str) -> list[int]:
    """`<bos> caption <image> codes </image> <eos>`. An empty caption says nothing: it gives the unconditional document.

    Args:
        vocabulary: the joint vocabulary.
        text_ids: of the text tokenizer.
        image_ids: of one image, a row of `images_to_ids`.
        size: name of the image's size.

    Raises:
        InputError: see `build_document`.
    """
    return build_document(vocabulary, [_caption(text_ids), ImageSegment(_ints(image_ids), size)])


def image_to_text(vocabulary: JointVocabulary, image_ids: Ids, text_ids: Ids, size: str) -> list[int]:
    """`<bos> <image> codes </image> caption <eos>`; arguments as for `text_to_image`."""
    return build_document(vocabulary, [ImageSegment(_ints(image_ids), size), TextSegment(_ints(text_ids))])


def unconditional(vocabulary: JointVocabulary, image_ids: Ids, size: str) -> list[int]:
    """`<bos> <null> <image> codes </image> <eos>`; arguments as for `text_to_image`."""
    return build_document(vocabulary, [NullSegment(), ImageSegment(_ints(image_ids), size)])


def text_to_image_prompt(vocabulary: JointVocabulary, text_ids: Ids, size: str) -> list[int]:
    """`<bos> caption <image>`: what stands before the codes. An empty caption gives the unconditional prompt."""
    return [*_checked_layout(vocabulary, [_caption(text_ids)]), vocabulary.image_start_id(size)]


def image_to_text_prompt(vocabulary: JointVocabulary, image_ids: Ids, size: str) -> list[int]:
    """`<bos> <image> codes </image>`: what stands before the caption."""
    return _checked_layout(vocabulary, [ImageSegment(_ints(image_ids), size)])


def build_document(vocabulary: JointVocabulary, segments: Sequence[DocumentSegment]) -> list[int]:
    """Lays out text and images in the order given, between `<bos>` and `<eos>`.

    An empty text leaves no trace, and texts in a row become one.

    Raises:
        InputError: a text id is no text, an image's size is not in the vocabulary, its codes do not fit its size, or a
            `NullSegment` is not followed by an image.
    """
    for segment, follower in pairwise([*segments, None]):
        if isinstance(segment, NullSegment) and not isinstance(follower, ImageSegment):
            raise InputError(f"a NullSegment stands for an image's missing words, but {follower} follows, no image")
    return [*_checked_layout(vocabulary, segments), vocabulary.eos_id]


def lay_out(vocabulary: JointVocabulary, segments: Iterable[DocumentSegment]) -> list[int]:
    """`<bos>` and the segments, without `<eos>`. Checks nothing: for segments that are known to be sound."""
    document = [vocabulary.bos_id]
    for segment in segments:
        if isinstance(segment, TextSegment):
            document += segment.ids
        elif isinstance(segment, ImageSegment):
            document += [vocabulary.image_start_id(segment.size), *segment.ids, vocabulary.image_end_id]
        else:
            document.append(vocabulary.null_id)
    return document


def parse_document(grammar: Grammar, ids: Ids) -> list[DocumentSegment]:
    """The segments of a whole document, the inverse of `build_document`; padding after it is ignored.

    Args:
        grammar: of the joint vocabulary.
        ids: from `<bos>` on.

    Raises:
        InputError: the ids break the grammar or end before `<eos>`.
    """
    ids = _ints(ids)
    if grammar.state_after(ids).kind != "end":
        raise InputError(f"the document breaks off after {len(ids)} ids, without {EOS}")
    segments: list[DocumentSegment] = []
    position, end = 1, ids.index(grammar.vocabulary.eos_id)
    while position < end:
        segment, length = _segment_at(grammar, ids, position)
        segments.append(segment)
        position += length
    return segments


def _segment_at(grammar: Grammar, ids: tuple[int, ...], position: int) -> tuple[DocumentSegment, int]:
    """The segment that begins at `position` of a legal document, and its length in ids."""
    vocabulary = grammar.vocabulary
    if ids[position] == vocabulary.null_id:
        return NullSegment(), 1
    size = grammar.size_of_start(ids[position])
    if size is not None:
        count = len(document_order(vocabulary.grids(size), vocabulary.order))
        return ImageSegment(ids[position + 1 : position + 1 + count], size), count + 2
    text = tuple(takewhile(vocabulary.is_text, ids[position:]))
    return TextSegment(text), len(text)


def _checked_layout(vocabulary: JointVocabulary, segments: Sequence[DocumentSegment]) -> list[int]:
    for segment in segments:
        if isinstance(segment, TextSegment):
            _check_text(vocabulary, segment.ids)
        elif isinstance(segment, ImageSegment):
            ids_to_images(vocabulary, torch.tensor([segment.ids], dtype=torch.long), segment.size)
    return lay_out(vocabulary, segments)


def _check_text(vocabulary: JointVocabulary, ids: tuple[int, ...]) -> None:
    for id_ in ids:
        if not vocabulary.is_text(id_):
            raise InputError(
                f"{vocabulary.describe(id_)} stands in a text; text ids are below {len(vocabulary.text_range)}"
            )


def _caption(text_ids: Ids) -> TextSegment | NullSegment:
    ids = _ints(text_ids)
    return TextSegment(ids) if ids else NullSegment()


def _ints(ids: Ids) -> tuple[int, ...]:
    return tuple(ids.tolist() if isinstance(ids, torch.Tensor) else map(int, ids))
