import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_language_models import LINES, STRINGS, TOKENIZERS, num_tokens, qwen
from tokenizers import Tokenizer, models, normalizers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

from pictogram.hub.errors import InputError
from pictogram.lm.pretrained_text import PretrainedTextTokenizer

PADDING = 10
TEXTS = {
    name: PretrainedTextTokenizer.from_transformers(make(), num_tokens(name) + PADDING)
    for name, make in TOKENIZERS.items()
}
EXACT = ["gpt2", "llama3"]

texts = st.one_of(
    st.text(), st.lists(st.sampled_from([*LINES, *STRINGS, " ", "  ", "\n", "e\u0301", "<"]), max_size=5).map("".join)
)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=50)
@given(text=texts)
def test_text_has_the_ids_that_it_had(name: str, text: str):
    ids = TEXTS[name].encode(text)
    old = TOKENIZERS[name]()
    assert ids == old(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert TEXTS[name].decode(ids) == old.decode(ids, clean_up_tokenization_spaces=False)
    assert not TEXTS[name].reserved_ids & set(ids)


@pytest.mark.parametrize("name", EXACT)
@settings(deadline=None, max_examples=50)
@given(text=texts)
def test_text_returns_exactly_where_the_tokenizer_is_exact(name: str, text: str):
    assert TEXTS[name].decode(TEXTS[name].encode(text)) == text


@pytest.mark.parametrize(
    ("name", "special"),
    [
        ("gpt2", ["<|endoftext|>"]),
        ("qwen", ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]),  # "<think>" is text
        ("llama3", ["<|begin_of_text|>", "<|eot_id|>"]),
        ("llama2", ["<unk>", "<s>", "</s>"]),  # every character can be spelled in bytes
        ("gemma", ["<pad>", "<eos>", "<bos>", "</image>"]),  # "<unk>" stands for what it does not know
        ("bert", ["[PAD]", "[CLS]", "[SEP]"]),
        ("words", []),  # "<s>" between spaces is a word, and so is the name of the gap
    ],
)
def test_special_tokens_and_rows_without_a_token_are_reserved(name: str, special: list[str]):
    text, old = TEXTS[name], TOKENIZERS[name]()
    unused = range(num_tokens(name), num_tokens(name) + PADDING)
    assert text.reserved_ids == {*old.convert_tokens_to_ids(special), *unused}
    assert [text.tokens[id_] for id_ in unused] == [f"<|reserved:{id_}|>" for id_ in unused]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_old_token_keeps_its_id(name: str):
    text, old = TEXTS[name], TOKENIZERS[name]().get_vocab()
    assert len(text.tokens) == text.vocab_size == num_tokens(name) + PADDING
    assert {token: text.tokens[id_] for token, id_ in old.items()} == {token: token for token in old}


def test_a_gap_between_the_ids_is_filled():
    assert TEXTS["words"].tokens[4] == "<|reserved:4|>"


def test_the_tokenizer_stays_as_it_is():
    tokenizer = qwen()
    tokenizer("a", truncation=True, max_length=3, padding="max_length")
    before = tokenizer.backend_tokenizer.to_str()
    text = PretrainedTextTokenizer.from_transformers(tokenizer, len(tokenizer))
    assert len(text.encode("a red apple")) > 3 and len(text.encode("a")) == 1
    tokenizer("a", truncation=True, max_length=3, padding="max_length")
    assert tokenizer.backend_tokenizer.to_str() == before


@pytest.mark.parametrize("name", ["qwen", "unigram"])
def test_a_saved_tokenizer_is_the_text_side_of_itself(name: str, tmp_path):
    TOKENIZERS[name]().save_pretrained(tmp_path)
    loaded = PretrainedTextTokenizer.load(tmp_path, num_tokens(name) + PADDING)
    assert (loaded.tokens, loaded.companions) == (TEXTS[name].tokens, TEXTS[name].companions)
    assert loaded.reserved_ids == TEXTS[name].reserved_ids
    assert all(loaded.encode(line) == TEXTS[name].encode(line) for line in [*LINES, *STRINGS])


def test_a_slow_tokenizer_is_refused():
    with pytest.raises(InputError, match=r"PythonBackend has no tokenizer.json; expected a fast tokenizer"):
        PretrainedTextTokenizer.from_transformers(object.__new__(PreTrainedTokenizer), 10)


def test_more_tokens_than_embeddings_are_refused():
    size = num_tokens("gpt2")
    with pytest.raises(InputError, match=f"ids up to {size - 1}, but the model has {size - 1} embeddings"):
        PretrainedTextTokenizer.from_transformers(TOKENIZERS["gpt2"](), size - 1)


def test_a_tokenizer_that_does_more_than_its_file_says_is_refused():
    class Shouting(PreTrainedTokenizerFast):
        def _encode_plus(self, text, *args, **kwargs):
            return super()._encode_plus(text.upper(), *args, **kwargs)

    tokenizer = Shouting(tokenizer_object=TOKENIZERS["gpt2"]().backend_tokenizer)
    with pytest.raises(InputError, match=r"Shouting does more to a text than its tokenizer.json says"):
        PretrainedTextTokenizer.from_transformers(tokenizer, 400)


def test_bad_ids_and_texts_are_refused():
    text = TEXTS["gpt2"]
    for id_ in (-1, text.vocab_size):
        with pytest.raises(InputError, match=f"{id_} is no text id; text ids are 0 to {text.vocab_size - 1}"):
            text.decode([id_])
    with pytest.raises(InputError, match="lone surrogate at position 1"):
        text.encode("a\ud800")


@pytest.mark.parametrize("content", ["", "{ nonsense", "[]", "{}", '{"model": 3, "added_tokens": []}'])
def test_damaged_files_are_refused(content: str, tmp_path):
    TOKENIZERS["gpt2"]().save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer.json"):
        PretrainedTextTokenizer.load(tmp_path, 400)
    shutil.rmtree(tmp_path)
    with pytest.raises(InputError, match=r"tokenizer.json is missing"):
        PretrainedTextTokenizer.load(tmp_path, 400)


def test_an_unknown_character_without_a_token_for_it_vanishes_as_it_did():
    plain = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2}, merges=[("a", "b")]))
    plain.normalizer = normalizers.Lowercase()
    text = PretrainedTextTokenizer.from_transformers(PreTrainedTokenizerFast(tokenizer_object=plain), 4)
    assert text.encode("AB!") == [2]
    assert text.reserved_ids == {3}
