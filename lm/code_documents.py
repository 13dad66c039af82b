"""Documents out of a dataset of codes: words before the picture, words after it, or none."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ..hub.errors import InputError
from ..tokenizer.interface import ImageCodes
from .documents import DocumentSegment, ImageSegment, NullSegment, TextSegment, images_to_ids, lay_out
from .text_tokenizer import TextEncoder
from .vocabulary import JointVocabulary

CONTROLS_PER_DOCUMENT = 4
"""`<bos> <image HxW> </image> <eos>`; a `<null>` stands in the caption's place."""

_REMEMBERED_CAPTIONS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class DocumentMix:
    """Which documents a picture with a caption turns into.

    Attributes:
        image_to_text: share of documents with the picture first and its caption after it.
        caption_dropout: share of the other documents whose caption becomes `<null>`; guidance needs these.
        describe_by_first: behind a picture stands the first of its captions, not any: what it is to be called, where
            the others are what else people may call it.

    Raises:
        InputError: a share outside 0..1.
    """

    image_to_text: float = 0.3
    caption_dropout: float = 0.1
    describe_by_first: bool = False

    def __post_init__(self) -> None:
        for name in ("image_to_text", "caption_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be 0..1, got {getattr(self, name)}")


class CodeRows(Protocol):
    """Rows of codes and captions that can be reached in any order: a `CodesDataset` or `CodesShards`."""

    @property
    def shard_sizes(self) -> Sequence[int]:
        """Rows of every shard."""
        ...

    @property
    def shared_grids(self) -> tuple[tuple[int, int], ...]:
        """(rows, columns) of every level, coarse to fine; raises `InputError` if pictures differ in size."""
        ...

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of every level."""
        ...

    def codes(self, indices: Sequence[int]) -> ImageCodes:
        """One int64 (B, h_l, w_l) per level."""
        ...

    def captions_of(self, indices: Sequence[int]) -> list[list[str]]:
        """The captions of some rows, at least one each."""
        ...


class CodeDocuments:
    """Captions and pictures of one size, as documents of a vocabulary.

    Args:
        rows: the pictures.
        text_tokenizer: for the captions.
        vocabulary: for everything.
        mix: the kinds of documents.
        max_length: longest document, tokens; longer captions lose their end.

    Raises:
        InputError: pictures of several sizes, of a size or with codes the vocabulary lacks, or too long for a document.
    """

    def __init__(
        self,
        rows: CodeRows,
        text_tokenizer: TextEncoder,
        vocabulary: JointVocabulary,
        *,
        mix: DocumentMix,
        max_length: int,
    ):
        self.rows, self.vocabulary, self.mix, self.max_length = rows, vocabulary, mix, max_length
        self.size = vocabulary.size_of(rows.shared_grids)
        self._room = max_length - picture_length(rows.shared_grids)
        if self._room < 1:
            raise InputError(f"a picture takes {max_length - self._room + 1} tokens, documents at most {max_length}")
        self._encode = functools.lru_cache(_REMEMBERED_CAPTIONS)(text_tokenizer.encode)

    @property
    def shard_sizes(self) -> Sequence[int]:
        """See `DocumentSource`."""
        return self.rows.shard_sizes

    def documents(self, rows: Sequence[int], draws: torch.Tensor) -> list[list[int]]:
        """One document per row; three uniform draws choose the caption, the direction and the loss of the caption.

        Args:
            rows: R row numbers.
            draws: (R, 3) uniform numbers.
        """
        images, captions = self.images(rows), self.rows.captions_of(rows)
        choices = zip(captions, images, draws.tolist(), strict=True)
        return [self._document(found, image, drawn) for found, image, drawn in choices]

    def images(self, rows: Sequence[int]) -> list[ImageSegment]:
        """The pictures of some rows."""
        ids = images_to_ids(self.vocabulary, self.rows.codes(rows))  # (R, n)
        return [ImageSegment(tuple(row), self.size) for row in ids.tolist()]

    def text(self, caption: str) -> tuple[int, ...]:
        """The ids of a caption, as many as a document has room for."""
        return tuple(self._encode(caption)[: self._room])

    def lay_out(self, segments: list[DocumentSegment]) -> list[int]:
        """A whole document. Codes and captions were checked when they became ids."""
        return [*lay_out(self.vocabulary, segments), self.vocabulary.eos_id]

    def _document(self, captions: Sequence[str], image: ImageSegment, drawn: Sequence[float]) -> list[int]:
        which, direction, dropout = drawn
        picture_first = direction < self.mix.image_to_text
        takes_first = picture_first and self.mix.describe_by_first
        text = TextSegment(self.text(captions[0 if takes_first else int(which * len(captions))]))
        if text.ids and picture_first:
            return self.lay_out([image, text])
        words = NullSegment() if not text.ids or dropout < self.mix.caption_dropout else text
        return self.lay_out([words, image])


def picture_length(grids: Sequence[Sequence[int]]) -> int:
    """Tokens of a document with one picture and no words."""
    return sum(height * width for height, width in grids) + CONTROLS_PER_DOCUMENT
