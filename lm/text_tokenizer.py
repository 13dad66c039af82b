"""Captions <-> text ids: a sentencepiece BPE model with byte fallback (Kudo & Richardson 2018), exact for every string.

Nothing is normalised: no dummy prefix, no removed spaces, no Unicode folding. Characters the training captions never
showed, line breaks and control characters are spelled as UTF-8 bytes, so `decode(encode(text)) == text` always holds.

Sentencepiece writes a space as U+2581 inside its pieces, so it reads a literal U+2581 as a space. `TextTokenizer`
spells that one character as bytes too; in everything else it equals plain sentencepiece with the same model file.
"""

from __future__ import annotations

import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Protocol

import sentencepiece

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes

TEXT_MODEL_FILE = "tokenizer.model"
SPACE_SYMBOL = "\u2581"  # sentencepiece's spelling of a space inside a piece

FIXED_PIECES = ("<unk>", *(f"<0x{byte:02X}>" for byte in range(256)))  # ids 0 to 256; no merge makes or uses them

MIN_TEXT_VOCAB_SIZE = len(FIXED_PIECES) + 1
"""The fixed pieces and the space."""

_LINE_LENGTH = 4096  # characters; longer training lines are cut, for sentencepiece would drop them silently
_MAX_BYTES_PER_CHARACTER = 4  # UTF-8


def train_text_tokenizer(captions: Iterable[str], vocab_size: int) -> bytes:
    """Trains the text tokenizer. The same captions in the same order give the same bytes.

    Args:
        captions: any strings, also empty ones; all are held in memory, so pass a sample of a very large set.
        vocab_size: the most pieces wanted, at least 258. Few captions give fewer pieces, never an error.
            Of the pieces beyond the 257 fixed ones at most half are single characters, the commonest ones.

    Returns:
        A sentencepiece model, the content of a `tokenizer.model`. `<unk>` is id 0 and never used, bytes are 1 to 256.

    Raises:
        InputError: `vocab_size` is too small.
    """
    if vocab_size < MIN_TEXT_VOCAB_SIZE:
        raise InputError(f"vocab_size is {vocab_size}, but <unk>, 256 bytes and one character need at least 258")
    captions = list(captions)
    num_characters = max(1, (vocab_size - len(FIXED_PIECES)) // 2)
    # The space must be a piece: as bytes it would come back as U+2581. Its line also stands in for an empty corpus.
    lines = [*_training_lines(captions, [" ", *_common_characters(captions, num_characters - 1)]), " "]
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(  # pyright: ignore[reportAttributeAccessIssue]
        sentence_iterator=iter(lines),
        model_writer=model,
        model_type="bpe",
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        byte_fallback=True,
        character_coverage=1.0,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        split_digits=True,  # no piece can spell an image token such as <|0:00012|>
        max_sentence_length=_LINE_LENGTH * _MAX_BYTES_PER_CHARACTER,
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,  # errors are raised as exceptions; the progress log is not for our users
    )
    return model.getvalue()


def _common_characters(captions: Sequence[str], count: int) -> list[str]:
    """The `count` commonest characters, ties by code point, that may be pieces beside the space."""
    counts: Counter[str] = Counter()
    for caption in captions:
        counts.update(caption)
    # Cc: control characters, Cs: lone surrogates, which are not text.
    usable = [c for c in counts if c not in (" ", SPACE_SYMBOL) and unicodedata.category(c) not in ("Cc", "Cs")]
    return sorted(usable, key=lambda character: (-counts[character], character))[:count]


def _training_lines(captions: Sequence[str], characters: Sequence[str]) -> Iterator[str]:
    """The stretches of the captions that consist of `characters`, in order."""
    stretch = re.compile(f"[{re.escape(''.join(characters))}]{{1,{_LINE_LENGTH}}}")
    for caption in captions:
        yield from stretch.findall(caption)


class TextEncoder(Protocol):
    """Captions <-> text ids: `TextTokenizer`, or `PretrainedTextTokenizer` of an extended language model."""

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        ...

    def encode(self, text: str) -> list[int]:
        """Text to ids, in [0, vocab_size)."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text."""
        ...


class TextTokenizer:
    """Encodes and decodes text with a trained sentencepiece model.

    Args:
        model: the bytes that `train_text_tokenizer` returned or a `tokenizer.model` holds.

    Raises:
        InputError: `model` is no sentencepiece model, or none of the kind that `train_text_tokenizer` makes.
    """

    def __init__(self, model: bytes):
        self.model = model
        self._processor = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except Exception as error:  # sentencepiece raises several bare types for a damaged file
            raise InputError(f"the text tokenizer is not a sentencepiece model ({len(model)} bytes)") from error
        exact = self.pieces[: len(FIXED_PIECES)] == [*FIXED_PIECES]
        if not exact or self.decode(self.encode(_EXACTNESS_PROBE)) != _EXACTNESS_PROBE:
            raise InputError(
                "the sentencepiece model is of another kind, which does not return every text exactly; "
                "use one that train_text_tokenizer made"
            )

    def encode(self, text: str) -> list[int]:
        """Text to ids, in [0, vocab_size). No token is added and no string has a special meaning.

        Raises:
            InputError: `text` holds a lone surrogate, which no file or terminal can hold either.
        """
        ids: list[int] = []
        try:
            for index, stretch in enumerate(text.split(SPACE_SYMBOL)):
                if index > 0:
                    ids += self._space_symbol_ids
                stretch.encode("utf-8")
                ids += self._processor.EncodeAsIds(stretch)
        except UnicodeEncodeError as error:
            raise InputError(f"text holds a lone surrogate at position {error.start} and cannot be encoded") from None
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text, the inverse of `encode`. Bytes that are not UTF-8, which `encode` never gives, become U+FFFD.

        Raises:
            InputError: an id is outside [0, vocab_size).
        """
        for id_ in ids:
            if not 0 <= id_ < self.vocab_size:
                raise InputError(f"{id_} is no text id; text ids are 0 to {self.vocab_size - 1}")
        return self._processor.DecodeIds([int(id_) for id_ in ids])

    @property
    def vocab_size(self) -> int:
        """Number of pieces."""
        return self._processor.GetPieceSize()

    @cached_property
    def pieces(self) -> list[str]:
        """Every id's piece as sentencepiece spells it: `FIXED_PIECES`, then merges by priority, then characters."""
        return [self._processor.IdToPiece(id_) for id_ in range(self.vocab_size)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the model file; `tokenizer.model` is its usual name."""
        atomic_write_bytes(path, self.model)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TextTokenizer:
        """Reads what `save` wrote.

        Raises:
            InputError: the file is missing or no such model.
        """
        try:
            return cls(Path(path).read_bytes())
        except FileNotFoundError:
            raise InputError(f"{path} is missing") from None

    @cached_property
    def _space_symbol_ids(self) -> list[int]:
        return [FIXED_PIECES.index(f"<0x{byte:02X}>") for byte in SPACE_SYMBOL.encode("utf-8")]


# What default sentencepiece settings change: outer and double spaces, a line break, a wide letter, an unseen character.
_EXACTNESS_PROBE = f"  a  \n\uff21 {SPACE_SYMBOL}\U0010fffd "
