"""The content of a `tokenizer.json`: which token has which id, and how to add tokens without moving any.

Two ways to hold a token: in the vocabulary of the model, and as an added token. Added tokens alone take seconds to load
by the ten thousand, and count on from the end of the vocabulary, so they would move when it grows. So a byte-pair model
gets all tokens in its vocabulary, where no merge reaches them, the old added ones too. Other models would find a whole
word in their vocabulary, whoever typed it: theirs become added tokens, in order of their ids.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers

from ..hub.errors import InputError, first_line
from .segments import image_token

Content = dict[str, Any]


def token_ids(content: Mapping[str, Any]) -> dict[str, int]:
    """The id of every token, those of the model and added ones, in order of the ids."""
    ids = _model_ids(content["model"]) | {token["content"]: token["id"] for token in content["added_tokens"]}
    return dict(sorted(ids.items(), key=lambda item: item[1]))


def load_content(content: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer that the content describes.

    Raises:
        InputError: the library cannot read it, or gives other ids than the content says, or two tokens share one.
    """
    try:
        tokenizer = Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"the tokenizer cannot be loaded: {first_line(error)}") from error
    ids = token_ids(content)
    if tokenizer.get_vocab() != ids or len(set(ids.values())) < len(ids):
        raise InputError("the tokenizer cannot keep the ids of its tokens")
    return tokenizer


def first_tokens(content: Mapping[str, Any], count: int) -> Content:
    """The content without the tokens whose id is `count` or more."""
    vocab = content["model"]["vocab"]
    is_dict = isinstance(vocab, dict)
    vocab = {token: id_ for token, id_ in vocab.items() if id_ < count} if is_dict else vocab[:count]
    added = [token for token in content["added_tokens"] if token["id"] < count]
    return {**content, "added_tokens": added, "model": content["model"] | {"vocab": vocab}}


def with_tokens(content: Mapping[str, Any], tokens: Mapping[str, int], special: Collection[str]) -> Content:
    """The content with more tokens.

    Args:
        content: whose tokens have all ids up to the first new one.
        tokens: ids of new tokens.
        special: those that a loader is to parse from prompts. What cannot lie in the model's vocabulary is parsed too.
    """
    model, in_vocabulary = content["model"], _is_byte_pair_safe(content)
    if in_vocabulary:
        added = {token["content"]: token["id"] for token in content["added_tokens"]}
        model = model | {"vocab": model["vocab"] | added | tokens}
    new = [_added_token(token, id_) for token, id_ in tokens.items() if token in special or not in_vocabulary]
    added_tokens = sorted([*content["added_tokens"], *new], key=lambda token: token["id"])
    return {**content, "added_tokens": added_tokens, "model": model}


def reserve_tokens(content: Mapping[str, Any], count: int) -> Content:
    """The content with a special token `<|reserved:id|>` for every id below `count` that has none."""
    known = token_ids(content)
    missing = sorted(set(range(count)) - set(known.values()))
    names = unused_names([f"<|reserved:{id_}|>" for id_ in missing], known)
    reserved = dict(zip(names, missing, strict=True))
    vocab = content["model"]["vocab"]
    if isinstance(vocab, dict):  # a gap in the model's own ids can be filled there only
        gaps = {token: id_ for token, id_ in reserved.items() if id_ < max(vocab.values(), default=0)}
        content = {**content, "model": content["model"] | {"vocab": vocab | gaps}}
    return with_tokens(content, reserved, reserved.keys())


def unused_names(names: Collection[str], known: Collection[str]) -> list[str]:
    """The names, but a known one gets a prefix.

    Example:
        >>> unused_names(["<bos>", "</image>"], {"<bos>"})
        ['<joint:bos>', '</image>']
    """
    taken, unused = set(known), list[str]()
    for name in names:
        while name in taken:
            name = f"<joint:{name[1:]}"
        taken.add(name)
        unused.append(name)
    return unused


def unknown_id(content: Mapping[str, Any]) -> int | None:
    """The id of whatever the tokenizer has no token for; None if it spells everything in bytes, or drops it."""
    model, vocab = content["model"], _model_ids(content["model"])
    byte_level = "ByteLevel" in json.dumps([content["normalizer"], content["pre_tokenizer"]])
    if byte_level and vocab.keys() >= set(pre_tokenizers.ByteLevel.alphabet()):
        return None
    if model.get("byte_fallback") and vocab.keys() >= {f"<0x{byte:02X}>" for byte in range(256)}:
        return None
    return model["unk_id"] if model["type"] == "Unigram" else token_ids(content).get(model.get("unk_token"))


def _model_ids(model: Mapping[str, Any]) -> dict[str, int]:
    vocab = model["vocab"]
    return dict(vocab) if isinstance(vocab, dict) else {piece: id_ for id_, (piece, _) in enumerate(vocab)}


def _is_byte_pair_safe(content: Mapping[str, Any]) -> bool:
    """Whether tokens in the model's vocabulary that no merge makes never come out of a text."""
    model = content["model"]
    if model["type"] != "BPE":
        return False
    special = [token["content"] for token in content["added_tokens"] if token["special"]]  # others never reach a model
    names = [image_token(0, 0), *(name for name in special if name not in model["vocab"])]
    if not model["ignore_merges"]:
        return all(len(name) > 1 for name in names)  # single characters are looked up
    # Such a model looks up a whole word before it merges; then a name must be no word.
    empty = {**content, "added_tokens": [], "model": model | {"vocab": {}, "merges": []}}
    words = Tokenizer.from_str(json.dumps(empty)).pre_tokenizer
    return words is not None and all(len(words.pre_tokenize_str(name)) > 1 for name in names)


def _added_token(token: str, id_: int) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id_, "content": token, **plain, "special": True}
