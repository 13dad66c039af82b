"""What every picture of a dataset of codes costs, with its words and without; and every caption, with its picture.

Each picture makes three documents, and each figure comes from one of them:

    <bos> caption <image HxW> codes </image> <eos>      the caption alone; the codes given the caption
    <bos> <image HxW> codes </image> caption <eos>      the caption given the codes
    <bos> <null> <image HxW> codes </image> <eos>       the codes alone
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace

import torch

from ..hub.errors import InputError
from ..tokenizer.codes_dataset import CodesDataset
from ..tokenizer.reconstructions import row_batches
from .bundle import Bundle
from .documents import DocumentSegment, ImageSegment, NullSegment, TextSegment, images_to_ids, lay_out
from .rate import DocumentBits, score_documents
from .token_bits import TokenScorer
from .vocabulary import JointVocabulary

TEXT_TO_IMAGE, IMAGE_TO_TEXT, UNCONDITIONAL = DOCUMENT_KINDS = ("text_to_image", "image_to_text", "unconditional")

_ROWS_AT_ONCE = 1024
"""Pictures whose documents are in memory together and sorted by length."""


@dataclass(frozen=True, eq=False)
class ImageBits:
    """Bits of N pictures and their first captions under one prior, float64.

    A picture without words, or with more than the prior's context holds, has NaN for everything that needs them.

    Attributes:
        caption_bytes: (N,) length of the caption in UTF-8.
        too_long: (N,) bool, whether picture and caption exceed the context.
        codes_given_caption: (N, L) bits of each level's codes behind the caption.
        codes: (N, L) bits of each level's codes behind `<null>`.
        caption_given_codes: (N,) bits of the caption behind the codes, with the `<eos>` that ends it.
        caption: (N,) bits of the caption at the beginning of a document, with the `<image HxW>` that ends it.
        illegal: (N, 3) bits per document of each kind that the stock softmax would spend beyond the legal ids.
        layout: (N, 3) bits per document of each kind for what kind it is.
    """

    caption_bytes: torch.Tensor
    too_long: torch.Tensor
    codes_given_caption: torch.Tensor
    codes: torch.Tensor
    caption_given_codes: torch.Tensor
    caption: torch.Tensor
    illegal: torch.Tensor
    layout: torch.Tensor

    def minus(self, other: ImageBits) -> ImageBits:
        """Picture by picture what this prior spends beyond another; of the same pictures."""
        names = [field.name for field in fields(self) if field.name not in ("caption_bytes", "too_long")]
        return replace(self, **{name: getattr(self, name) - getattr(other, name) for name in names})


def measure_images(
    bundle: Bundle,
    codes: CodesDataset,
    rows: Sequence[int],
    *,
    batch_size: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> ImageBits:
    """Scores pictures and their first captions in all three documents, a thousand pictures in memory at a time.

    Args:
        bundle: of the tokenizer that made `codes`, in evaluation mode.
        codes: pictures of one size.
        rows: of the pictures; at least one.
        batch_size: documents at a time, see `score_documents`.
        progress: called with the number of documents done since the last call, 3 per picture.

    Raises:
        InputError: pictures of several sizes, of one the vocabulary lacks, or too long for the prior's context.
    """
    scorer = TokenScorer(bundle.prior, bundle.grammar)
    parts = []
    for places in row_batches(len(rows), _ROWS_AT_ONCE):
        documents = _documents(bundle, codes, [rows[place] for place in places])
        bits = score_documents(scorer, documents.ids, batch_size=batch_size, progress=progress)
        parts.append(documents.image_bits(bits))
        if progress:
            progress(len(DOCUMENT_KINDS) * len(places) - len(documents.ids))  # those that need missing words
    return ImageBits(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(ImageBits)))


@dataclass(frozen=True)
class _Documents:
    """The documents of some pictures.

    Attributes:
        caption_bytes: of every picture, NaN where its caption is not scored.
        too_long: whether that is because of the context, of every picture.
        ids: of every document.
        kinds: index into `DOCUMENT_KINDS` of every document.
        places: number of every document's picture.
    """

    caption_bytes: list[float] = field(default_factory=list)
    too_long: list[bool] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)

    def add(self, ids: list[int], kind: str) -> None:
        """One more document of the picture at hand."""
        self.ids.append(ids)
        self.kinds.append(DOCUMENT_KINDS.index(kind))
        self.places.append(len(self.caption_bytes))

    def image_bits(self, bits: DocumentBits) -> ImageBits:
        """The documents' costs, sorted by picture."""
        kinds, places = torch.tensor(self.kinds), torch.tensor(self.places)

        def of(values: torch.Tensor, kind: str) -> torch.Tensor:
            chosen = kinds == DOCUMENT_KINDS.index(kind)
            table = values.new_full((len(self.caption_bytes), *values.shape[1:]), torch.nan)
            table[places[chosen]] = values[chosen]
            return table

        return ImageBits(
            caption_bytes=torch.tensor(self.caption_bytes, dtype=torch.float64),
            too_long=torch.tensor(self.too_long),
            codes_given_caption=of(bits.levels, TEXT_TO_IMAGE),
            codes=of(bits.levels, UNCONDITIONAL),
            caption_given_codes=of(bits.caption, IMAGE_TO_TEXT),
            caption=of(bits.caption, TEXT_TO_IMAGE),
            illegal=torch.stack([of(bits.illegal, kind) for kind in DOCUMENT_KINDS], 1),
            layout=torch.stack([of(bits.layout, kind) for kind in DOCUMENT_KINDS], 1),
        )


def _documents(bundle: Bundle, codes: CodesDataset, rows: Sequence[int]) -> _Documents:
    vocabulary, context = bundle.vocabulary, bundle.prior.config.max_position_embeddings
    size = vocabulary.size_of(codes.shared_grids)
    documents = _Documents()
    for row, ids in zip(rows, images_to_ids(vocabulary, codes.codes(rows)).tolist(), strict=True):
        image, caption = ImageSegment(tuple(ids), size), codes.captions(row)[0]
        text = TextSegment(tuple(bundle.text_tokenizer.encode(caption)))
        plain, forwards, backwards = (
            _document(vocabulary, segments) for segments in ([NullSegment(), image], [text, image], [image, text])
        )
        if len(plain) > context:
            raise InputError(f"a picture takes {len(plain)} tokens, but the prior reads {context}")
        fits = len(forwards) <= context
        documents.add(plain, UNCONDITIONAL)
        if text.ids and fits:
            documents.add(forwards, TEXT_TO_IMAGE)
            documents.add(backwards, IMAGE_TO_TEXT)
        documents.caption_bytes.append(len(caption.encode()) if text.ids and fits else math.nan)
        documents.too_long.append(not fits)
    return documents


def _document(vocabulary: JointVocabulary, segments: Sequence[DocumentSegment]) -> list[int]:
    # Codes and captions were checked when they became ids.
    return [*lay_out(vocabulary, segments), vocabulary.eos_id]
