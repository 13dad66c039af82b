"""Captions <-> text ids by the tokenizer of an existing language model, whose every id stays what it was.

`PretrainedTextTokenizer` holds the content of a `tokenizer.json` up to the last row of the model's embeddings, and no
token of ours: whatever a user types, no control token and no code can come out. The old special tokens' strings stay
text too, as with `split_special_tokens=True` in transformers.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..hub.errors import InputError
from ..hub.files import read_json_object
from .tokenizer_content import first_tokens, load_content, reserve_tokens, token_ids, unknown_id

TOKENIZER_FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"

CHAT_TEMPLATES = ("chat_template.jinja", "additional_chat_templates/*.jinja")
"""Globs of what else may lie beside a `tokenizer.json`."""


class PretrainedTextTokenizer:
    """Encodes and decodes text with a tokenizer of the `tokenizers` library.

    Args:
        content: of a `tokenizer.json`; its tokens from `vocab_size` on are left out. Ids below it that have no token
            (embeddings are often padded) get names.
        vocab_size: number of text ids: the rows of the model's embeddings before it was extended.
        companions: what lies beside it, by name: `tokenizer_config.json` and chat templates.

    Raises:
        InputError: the content is no tokenizer's, or cannot keep its ids.
    """

    def __init__(self, content: Mapping[str, Any], vocab_size: int, companions: Mapping[str, bytes]):
        self.vocab_size, self.companions = vocab_size, dict(companions)
        whole_texts = {**content, "truncation": None, "padding": None}  # these are left over from the last call
        self.content = reserve_tokens(first_tokens(whole_texts, vocab_size), vocab_size)
        self.tokens = list(token_ids(self.content))
        self._backend = load_content(self.content)
        self._backend.encode_special_tokens = True  # sic: their strings are encoded like any text

    @classmethod
    def from_transformers(cls, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> PretrainedTextTokenizer:
        """The text side of a loaded tokenizer.

        Args:
            tokenizer: a fast one; it stays as it is.
            vocab_size: rows of the model's embeddings.

        Raises:
            InputError: a slow tokenizer, one with more tokens than the model has embeddings, or one that does more to a
                text than its `tokenizer.json` says.
        """
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise InputError(
                f"{type(tokenizer).__name__} has no tokenizer.json; expected a fast tokenizer, as of AutoTokenizer"
            )
        content = json.loads(tokenizer.backend_tokenizer.to_str())
        last = max(token_ids(content).values())
        if last >= vocab_size:
            raise InputError(
                f"the tokenizer has ids up to {last}, but the model has {vocab_size} embeddings: they do not belong "
                "together"
            )
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            text = cls(content, vocab_size, _read_companions(Path(folder)))
        expected = tokenizer(_PROBE, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        if text.encode(_PROBE) != expected:
            raise InputError(f"{type(tokenizer).__name__} does more to a text than its tokenizer.json says")
        return text

    @classmethod
    def load(cls, directory: str | os.PathLike[str], vocab_size: int) -> PretrainedTextTokenizer:
        """Reads the text side of the joint tokenizer that lies in `directory`.

        Raises:
            InputError: a file is missing or damaged.
        """
        directory = Path(directory)
        content = read_json_object(directory / TOKENIZER_FILE)
        try:
            return cls(content, vocab_size, _read_companions(directory))
        except Exception as error:  # the library raises plain Exception; a file of another kind fails anywhere
            raise InputError(f"{directory / TOKENIZER_FILE} is damaged: {error}") from error

    def encode(self, text: str) -> list[int]:
        """Text to ids, in [0, vocab_size). No token is added, and no special token's string is parsed.

        Raises:
            InputError: `text` holds a lone surrogate, which no file or terminal can hold either.
        """
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(f"text holds a lone surrogate at position {error.start} and cannot be encoded") from None
        return self._backend.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Sequence[int]) -> str:
        """Ids to text: the inverse of `encode` where the tokenizer is exact.

        Raises:
            InputError: an id is outside [0, vocab_size).
        """
        for id_ in ids:
            if not 0 <= id_ < self.vocab_size:
                raise InputError(f"{id_} is no text id; text ids are 0 to {self.vocab_size - 1}")
        return self._backend.decode([int(id_) for id_ in ids], skip_special_tokens=False)

    @cached_property
    def reserved_ids(self) -> frozenset[int]:
        """Ids that no text becomes: special tokens, and rows of the embeddings that never had a token.

        The token for what a tokenizer does not know is special, but stands in texts. So does a special token that comes
        out when its string is split like any text, as in vocabularies of whole words.
        """
        special = {token["id"] for token in self.content["added_tokens"] if token["special"]}
        special.discard(unknown_id(self.content))
        return frozenset(id_ for id_ in special if id_ not in self.encode(self.tokens[id_]))


def _read_companions(directory: Path) -> dict[str, bytes]:
    files = [path for pattern in (CONFIG_FILE, *CHAT_TEMPLATES) for path in sorted(directory.glob(pattern))]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


# Breaks, spaces, scripts, a character that no vocabulary holds, and strings that are special to somebody.
_PROBE = "Red apple,  3 caf\u00e9s\n \u65e5\u672c\U0001f600\U0010fffd <s></s><|endoftext|>[MASK] "
