"""The joint vocabulary as an ordinary Hugging Face tokenizer, which `AutoTokenizer` loads without this package.

What a stock loader does:

- Text is encoded exactly as `TextTokenizer` does, every string returns exactly, and no token is added by itself: a
  prompt spells its `<bos>`, as in "<bos>grinning face<image 4x4>".
- Control tokens are special tokens, so their strings are parsed wherever they stand. For text from users pass
  `split_special_tokens=True`, and they stay text. (Our own documents never parse text at all.)
- Image tokens are entries of the vocabulary that no merge reaches: ids become strings such as `<|0:00012|>`, but such a
  string typed by a user stays text. They are not added tokens, which would take seconds to load.

All this is about a text tokenizer of our own. Of an extended language model see `extended_tokenizer`.
"""

from __future__ import annotations

import os
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders
from tokenizers.models import BPE

from ..hub.errors import InputError
from ..hub.files import atomic_write_text, read_json_object, write_json
from .extended_tokenizer import check_extended_tokenizer, save_extended_tokenizer
from .pretrained_text import CHAT_TEMPLATES, TOKENIZER_FILE, PretrainedTextTokenizer
from .segments import BOS, EOS, PAD
from .text_tokenizer import FIXED_PIECES, SPACE_SYMBOL, TEXT_MODEL_FILE, TextTokenizer
from .vocabulary import VOCABULARY_FILE, JointVocabulary

AnyTextTokenizer = TextTokenizer | PretrainedTextTokenizer

TEXT_PATTERNS = (TEXT_MODEL_FILE, *CHAT_TEMPLATES)
"""Globs of all files that a text tokenizer may have beside `tokenizer.json` and its settings."""


def text_files(directory: Path) -> list[str]:
    """Paths, inside a bundle's folder, of those of `TEXT_PATTERNS` that it needs, there or not, or that are there.

    Raises:
        InputError: `vocabulary.json` is no JSON object.
    """
    vocabulary = directory / VOCABULARY_FILE
    content = read_json_object(vocabulary) if vocabulary.is_file() else {}
    own = content.get("text_file", TEXT_MODEL_FILE) == TEXT_MODEL_FILE
    templates = [path.relative_to(directory).as_posix() for glob in CHAT_TEMPLATES for path in directory.glob(glob)]
    return [*([TEXT_MODEL_FILE] if own else []), *sorted(templates)]


def load_text_tokenizer(vocabulary: JointVocabulary, directory: str | os.PathLike[str]) -> AnyTextTokenizer:
    """Reads the text tokenizer that the vocabulary speaks of.

    Raises:
        InputError: a file is missing or damaged.
    """
    if vocabulary.text_file == TEXT_MODEL_FILE:
        return TextTokenizer.load(Path(directory) / TEXT_MODEL_FILE)
    return PretrainedTextTokenizer.load(directory, len(vocabulary.text_range))


def save_joint_tokenizer(
    text: AnyTextTokenizer, vocabulary: JointVocabulary, directory: str | os.PathLike[str]
) -> None:
    """Writes `tokenizer.json`, `tokenizer_config.json` and what else the text tokenizer needs into `directory`.

    Raises:
        InputError: the text tokenizer is not the vocabulary's, or one of its pieces spells a control or image token;
            or the vocabulary's text tokenizer is of the other kind.
    """
    is_extended = isinstance(text, PretrainedTextTokenizer)
    if vocabulary.text_file != (TOKENIZER_FILE if is_extended else TEXT_MODEL_FILE):
        raise InputError(f"{type(text).__name__} does not lie in the vocabulary's text_file, {vocabulary.text_file}")
    if is_extended:
        save_extended_tokenizer(text, vocabulary, directory)
        return
    directory = Path(directory)
    tokenizer = joint_tokenizer(text, vocabulary)
    atomic_write_text(directory / "tokenizer.json", tokenizer.to_str(pretty=True))
    write_json(directory / "tokenizer_config.json", _TOKENIZER_CONFIG)
    text.save(directory / TEXT_MODEL_FILE)


def joint_tokenizer(text: TextTokenizer, vocabulary: JointVocabulary) -> Tokenizer:
    """Builds the tokenizer with the `tokenizers` library.

    Spaces are spelled as spaces, not as sentencepiece's U+2581, so that this character can return exactly as well.

    Raises:
        InputError: see `save_joint_tokenizer`.
    """
    if text.vocab_size != len(vocabulary.text_range):
        expected = len(vocabulary.text_range)
        raise InputError(f"the text tokenizer has {text.vocab_size} pieces, but the vocabulary has {expected} text ids")
    pieces = [piece.replace(SPACE_SYMBOL, " ") for piece in text.pieces]
    tokens = [*pieces, *vocabulary.tokens()]
    ids = {token: id_ for id_, token in enumerate(tokens)}
    if len(ids) < len(tokens):
        clash = next(token for id_, token in enumerate(tokens) if ids[token] != id_)
        raise InputError(f"the text tokenizer has a piece {clash!r} that is a control or image token too")
    tokenizer = Tokenizer(BPE(vocab=ids, merges=_merges(pieces), unk_token=pieces[0], byte_fallback=True))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])  # pyright: ignore
    # They are in the vocabulary already and so keep their ids; as added tokens alone they would move when it grows.
    controls = sorted(vocabulary.control_ids, key=vocabulary.control_ids.__getitem__)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in controls])
    return tokenizer


def check_joint_tokenizer(
    text: AnyTextTokenizer, vocabulary: JointVocabulary, directory: str | os.PathLike[str]
) -> None:
    """Checks that `tokenizer.json` in `directory` gives every token the id that the two parts give it.

    Raises:
        InputError: it does not, so that one of the files belongs to another bundle; or it cannot be read.
    """
    if isinstance(text, PretrainedTextTokenizer):
        check_extended_tokenizer(text, vocabulary, directory)
        return
    path = Path(directory) / "tokenizer.json"
    try:
        stored = Tokenizer.from_file(str(path)).get_vocab()
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{path} is damaged: {error}") from error
    if stored != joint_tokenizer(text, vocabulary).get_vocab():
        raise InputError(f"{path} does not belong to the tokenizer.model and vocabulary.json beside it")


def _merges(pieces: list[str]) -> list[tuple[str, str]]:
    """The merges behind the pieces: sentencepiece orders them by priority, and a piece may be made of any two others.

    (`generate_merges` of transformers does the same from scores, but is no public function.)
    """
    learned = pieces[len(FIXED_PIECES) :]
    known = set(learned)
    return [
        (piece[:cut], piece[cut:])
        for piece in learned
        for cut in range(1, len(piece))
        if piece[:cut] in known and piece[cut:] in known
    ]


# "TokenizersBackend" makes AutoTokenizer take tokenizer.json as it is, whatever class the model's config.json suggests.
_TOKENIZER_CONFIG = {
    "tokenizer_class": "TokenizersBackend",
    "bos_token": BOS,
    "eos_token": EOS,
    "pad_token": PAD,
    "padding_side": "left",
    "model_input_names": ["input_ids", "attention_mask"],
    "clean_up_tokenization_spaces": False,
}
