"""Training documents in batches: batch t is a pure function of (seed, t), and documents of like length go together."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..hub.errors import InputError
from ..tokenizer.batches import derived_generator, global_batch
from ..tokenizer.codes_dataset import CodesDataset
from .documents import ImageSegment, NullSegment, TextSegment, images_to_ids, lay_out
from .text_tokenizer import TextTokenizer
from .vocabulary import JointVocabulary

IGNORED = -100
"""Label of padding, which costs nothing."""

_WINDOW = 32
"""Batches that are drawn together and sorted by length, so that hardly any padding is left."""


@dataclass(frozen=True, kw_only=True)
class DocumentMix:
    """Which documents a picture with a caption turns into.

    Attributes:
        image_to_text: share of documents with the picture first and its caption after it.
        caption_dropout: share of the other documents whose caption becomes `<null>`; guidance needs these.

    Raises:
        InputError: a share outside 0..1.
    """

    image_to_text: float = 0.3
    caption_dropout: float = 0.1

    def __post_init__(self) -> None:
        for name in ("image_to_text", "caption_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be 0..1, got {getattr(self, name)}")


@dataclass(frozen=True)
class DocumentBatch:
    """A global batch.

    Attributes:
        input_ids: (B, T) int64, padded on the right.
        labels: (B, T) int64, the same ids with `IGNORED` for padding. Causal attention never sees padding on the right,
            so no attention mask is needed.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor

    @property
    def num_targets(self) -> int:
        """Tokens that are predicted: all but the first of each document."""
        return int((self.labels[:, 1:] != IGNORED).sum())


class DocumentBatches:
    """Captions and pictures of a dataset of codes, as batches of documents.

    Args:
        codes: pictures of one size, with captions.
        text_tokenizer: for the captions.
        vocabulary: for everything.
        mix: the kinds of documents.
        batch_size: documents per step, over all processes.
        seed: of the order and of all draws.
    """

    def __init__(
        self,
        codes: CodesDataset,
        text_tokenizer: TextTokenizer,
        vocabulary: JointVocabulary,
        *,
        mix: DocumentMix,
        batch_size: int,
        seed: int,
    ):
        self.vocabulary, self.mix, self.batch_size, self.seed = vocabulary, mix, batch_size, seed
        self.size = vocabulary.size_of(codes.shared_grids)
        self.image_ids = images_to_ids(vocabulary, codes.codes(range(len(codes))))  # (N, n)
        self.captions = [
            [tuple(text_tokenizer.encode(caption)) for caption in codes.captions(row)] for row in range(len(codes))
        ]

    @property
    def max_length(self) -> int:
        """Tokens of the longest document: caption, codes and the four control tokens."""
        longest = max(len(caption) for captions in self.captions for caption in captions)
        return max(longest, 1) + self.image_ids.shape[1] + 4

    def batch(self, step: int) -> DocumentBatch:
        """Global batch number `step`."""
        window, place = divmod(step, _WINDOW)
        return collate(self._window(window)[place], self.vocabulary.pad_id)

    @functools.lru_cache(maxsize=2)  # noqa: B019 - one instance per run
    def _window(self, window: int) -> list[list[list[int]]]:
        """The documents of `_WINDOW` batches: drawn, sorted by length, cut into batches, and the batches shuffled."""
        count = _WINDOW * self.batch_size
        rows = global_batch(len(self.image_ids), count, self.seed, window)
        generator = derived_generator(self.seed, "documents", window)
        draws = torch.rand(count, 3, generator=generator).tolist()
        documents = sorted((self._document(row, *draw) for row, draw in zip(rows, draws, strict=True)), key=len)
        order = torch.randperm(_WINDOW, generator=generator).tolist()
        return [documents[place * self.batch_size : (place + 1) * self.batch_size] for place in order]

    def _document(self, row: int, which: float, direction: float, dropout: float) -> list[int]:
        """One document of a row; three uniform draws choose the caption, the direction and the loss of the caption."""
        captions = self.captions[row]
        text = captions[int(which * len(captions))]
        image = ImageSegment(tuple(self.image_ids[row].tolist()), self.size)
        if text and direction < self.mix.image_to_text:
            segments = [image, TextSegment(text)]
        else:
            words = NullSegment() if not text or dropout < self.mix.caption_dropout else TextSegment(text)
            segments = [words, image]
        # Codes and captions were checked once, when they became ids.
        return [*lay_out(self.vocabulary, segments), self.vocabulary.eos_id]


def collate(documents: Sequence[Sequence[int]], pad_id: int) -> DocumentBatch:
    """Pads documents on the right to the length of the longest."""
    longest = max(map(len, documents))
    input_ids = torch.full((len(documents), longest), pad_id)
    labels = torch.full((len(documents), longest), IGNORED)
    for row, document in enumerate(documents):
        input_ids[row, : len(document)] = labels[row, : len(document)] = torch.tensor(document)
    return DocumentBatch(input_ids, labels)
