import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from pictogram.hub.errors import InputError
from pictogram.lm.text_tokenizer import FIXED_PIECES, SPACE_SYMBOL, TextTokenizer, train_text_tokenizer

CAPTIONS = [
    "grinning face",
    "face with tears of joy",
    "flag: Japan",
    "日本の旗",
    "हँसता चेहरा",
    "😀 😀",
    "",
    "  two  spaces ",
] * 4


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(train_text_tokenizer(CAPTIONS, vocab_size=400))


@settings(deadline=None, max_examples=300)
@given(st.text())
def test_any_text_returns_exactly(tokenizer: TextTokenizer, text: str):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(0 < id_ < tokenizer.vocab_size for id_ in ids)  # never <unk>


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet=[*"face ginr", " ", "\n", "\t", "\r", "\0", SPACE_SYMBOL, "旗", "<", ">", "0", "é", "\u0301"]))
def test_spaces_breaks_and_space_symbols_return_exactly(tokenizer: TextTokenizer, text: str):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_ids_equal_plain_sentencepiece(tokenizer: TextTokenizer):
    plain = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    for caption in [*CAPTIONS, " a  b ", "\n", "unseen Ω", "<unk>", "<0x41>"]:
        assert tokenizer.encode(caption) == plain.encode(caption)


def test_training_is_deterministic():
    assert train_text_tokenizer(CAPTIONS, 400) == train_text_tokenizer(iter(CAPTIONS), 400)


def test_merges_are_learnt(tokenizer: TextTokenizer):
    assert len(tokenizer.encode("grinning face")) < len("grinning face") / 2
    assert tokenizer.pieces[: len(FIXED_PIECES)] == [*FIXED_PIECES]


@pytest.mark.parametrize("captions", [[], [""], ["", "\n\t"], ["a"], ["▁"], [" "], ["\ud800"]])
@pytest.mark.parametrize("vocab_size", [258, 1000])
def test_hardly_any_captions(captions: list[str], vocab_size: int):
    tokenizer = TextTokenizer(train_text_tokenizer(captions, vocab_size))
    assert 257 < tokenizer.vocab_size <= vocab_size
    assert tokenizer.decode(tokenizer.encode("smile 😀\n")) == "smile 😀\n"


def test_vocab_size_is_a_maximum_whatever_the_alphabet():
    captions = ["".join(map(chr, range(0x4E00 + start, 0x4E00 + start + 50))) for start in range(0, 3000, 50)]
    tokenizer = TextTokenizer(train_text_tokenizer(captions, vocab_size=300))
    assert tokenizer.vocab_size <= 300
    assert all(tokenizer.decode(tokenizer.encode(caption)) == caption for caption in captions)


def test_a_long_line_is_learnt_from():
    words = "lantern " * 5000
    tokenizer = TextTokenizer(train_text_tokenizer([words], vocab_size=300))
    assert "lantern" in tokenizer.pieces or f"{SPACE_SYMBOL}lantern" in tokenizer.pieces
    assert tokenizer.decode(tokenizer.encode(words)) == words


def test_no_piece_spells_a_control_or_image_token():
    captions = ["<bos> <eos> </image> <null> <image 4x4> <|0:00012|> <pad>"] * 50
    pieces = TextTokenizer(train_text_tokenizer(captions, vocab_size=2000)).pieces
    assert not {"<bos>", "<eos>", "</image>", "<null>", "<image 4x4>", "<|0:00012|>", "<pad>"} & set(pieces)


def test_save_and_load(tokenizer: TextTokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.model")
    loaded = TextTokenizer.load(tmp_path / "tokenizer.model")
    assert loaded.model == tokenizer.model
    assert loaded.encode("grinning face") == tokenizer.encode("grinning face")


def test_too_small_a_vocabulary():
    with pytest.raises(InputError, match="at least 258"):
        train_text_tokenizer(["a"], vocab_size=257)


def test_bad_models_and_ids_are_refused(tokenizer: TextTokenizer, tmp_path):
    with pytest.raises(InputError, match="is missing"):
        TextTokenizer.load(tmp_path / "tokenizer.model")
    for model in (b"", b"not a model", tokenizer.model[:100]):
        with pytest.raises(InputError, match="sentencepiece model"):
            TextTokenizer(model)
    with pytest.raises(InputError, match="is no text id"):
        tokenizer.decode([tokenizer.vocab_size])
    with pytest.raises(InputError, match="lone surrogate"):
        tokenizer.encode("a\ud800")


def test_training_is_silent(capfd):
    train_text_tokenizer(CAPTIONS, 400)
    assert capfd.readouterr() == ("", "")
