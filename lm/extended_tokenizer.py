"""The joint tokenizer of an extended language model: its old tokenizer, and behind it the tokens of the vocabulary.

What a stock loader (`AutoTokenizer`) does:

- Text, chat templates and the old special tokens are what they were: `bos_token` and `eos_token` are the old ones, and
  if the old tokenizer put its own in front of a text, so does this one. Only `pad_token` is the joint `<pad>`.
- So a document's prompt is put together from ids: those of `vocabulary.json` around those of the caption, encoded with
  `add_special_tokens=False, split_special_tokens=True`.
- A token whose string the old tokenizer has already, such as `<bos>`, is spelled `<joint:bos>` here. `vocabulary.json`
  keeps its own names: ids are what counts.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from ..hub.errors import InputError
from ..hub.files import atomic_write_bytes, atomic_write_text, read_json_object, write_json
from .pretrained_text import CONFIG_FILE, TOKENIZER_FILE, PretrainedTextTokenizer
from .tokenizer_content import Content, token_ids, unused_names, with_tokens
from .vocabulary import JointVocabulary


def extended_content(text: PretrainedTextTokenizer, vocabulary: JointVocabulary) -> Content:
    """The content of `tokenizer.json`.

    Raises:
        InputError: the text tokenizer is not the vocabulary's.
    """
    if text.vocab_size != len(vocabulary.text_range) or text.reserved_ids != vocabulary.reserved_text_ids:
        raise InputError(
            f"the text tokenizer ({text.vocab_size} ids, {len(text.reserved_ids)} of them reserved) is not the "
            f"vocabulary's ({len(vocabulary.text_range)} ids, {len(vocabulary.reserved_text_ids)} of them reserved)"
        )
    tokens = extended_tokens(text, vocabulary)
    controls = {tokens[id_ - text.vocab_size] for id_ in vocabulary.control_ids.values()}
    return with_tokens(text.content, {token: id_ for id_, token in enumerate(tokens, text.vocab_size)}, controls)


def extended_tokens(text: PretrainedTextTokenizer, vocabulary: JointVocabulary) -> list[str]:
    """The strings of all ids behind the text ids, in order, each another than the old ones."""
    return unused_names(vocabulary.tokens(), text.tokens)


def save_extended_tokenizer(
    text: PretrainedTextTokenizer, vocabulary: JointVocabulary, directory: str | os.PathLike[str]
) -> None:
    """Writes `tokenizer.json`, `tokenizer_config.json` and the old chat templates into `directory`.

    Raises:
        InputError: see `extended_content`.
    """
    directory = Path(directory)
    content = extended_content(text, vocabulary)
    atomic_write_text(directory / TOKENIZER_FILE, json.dumps(content, indent=1, ensure_ascii=False))
    for name, companion in text.companions.items():
        atomic_write_bytes(directory / name, companion)
    config = json.loads(text.companions[CONFIG_FILE])
    config.pop("auto_map", None)  # code of somebody's own
    # "TokenizersBackend" makes AutoTokenizer take tokenizer.json as it is; other classes build it anew in their way.
    padding = extended_tokens(text, vocabulary)[vocabulary.pad_id - text.vocab_size]
    write_json(directory / CONFIG_FILE, config | {"tokenizer_class": "TokenizersBackend", "pad_token": padding})


def check_extended_tokenizer(
    text: PretrainedTextTokenizer, vocabulary: JointVocabulary, directory: str | os.PathLike[str]
) -> None:
    """Checks that `tokenizer.json` in `directory` gives every token the id that the vocabulary gives it.

    Raises:
        InputError: it does not, so that one of the files belongs to another bundle.
    """
    path = Path(directory) / TOKENIZER_FILE
    if token_ids(read_json_object(path)) != token_ids(extended_content(text, vocabulary)):
        raise InputError(f"{path} does not belong to the vocabulary.json beside it")
