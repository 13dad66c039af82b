import json

import pytest
from tiny_language_models import TOKENIZERS, num_tokens

from pictogram.hub.errors import InputError
from pictogram.lm.tokenizer_content import (
    Content,
    first_tokens,
    load_content,
    reserve_tokens,
    token_ids,
    unknown_id,
    unused_names,
    with_tokens,
)


def content(name: str) -> Content:
    return json.loads(TOKENIZERS[name]().backend_tokenizer.to_str())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_tokens_and_ids_are_those_of_the_library(name: str):
    assert token_ids(content(name)) == TOKENIZERS[name]().get_vocab()
    assert list(token_ids(content(name)).values()) == sorted(token_ids(content(name)).values())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_added_and_cut_off_again_leaves_the_content_as_it_was(name: str):
    size = num_tokens(name) + 3
    whole = reserve_tokens(content(name), size)
    longer = with_tokens(whole, {"<a>": size, "<b>": size + 1}, {"<b>"})
    loaded = load_content(longer)
    assert (loaded.token_to_id("<a>"), loaded.token_to_id("<b>")) == (size, size + 1)
    assert first_tokens(longer, size) == whole
    assert reserve_tokens(first_tokens(longer, size), size) == whole


@pytest.mark.parametrize("name", TOKENIZERS)
def test_every_id_gets_a_token(name: str):
    size = num_tokens(name) + 3
    assert sorted(token_ids(reserve_tokens(content(name), size)).values()) == list(range(size))


@pytest.mark.parametrize(
    ("name", "in_vocabulary"),
    [("gpt2", True), ("qwen", True), ("llama3", True), ("llama2", True), ("unigram", False), ("bert", False)],
)
def test_only_byte_pair_models_hold_all_tokens_themselves(name: str, in_vocabulary: bool):
    size = num_tokens(name)
    longer = with_tokens(reserve_tokens(content(name), size), {"<a>": size}, set())
    assert ("<a>" in longer["model"]["vocab"]) == in_vocabulary
    assert any(token["content"] == "<a>" for token in longer["added_tokens"]) != in_vocabulary


def test_a_model_that_looks_up_words_without_cutting_them_gets_added_tokens():
    whole = reserve_tokens(content("llama3") | {"pre_tokenizer": {"type": "WhitespaceSplit"}}, num_tokens("llama3"))
    longer = with_tokens(whole, {"<|0:00000|>": num_tokens("llama3")}, set())
    tokenizer = load_content(longer)
    tokenizer.encode_special_tokens = True
    assert tokenizer.token_to_id("<|0:00000|>") == num_tokens("llama3")
    assert num_tokens("llama3") not in tokenizer.encode("a <|0:00000|> b").ids


def test_a_special_token_of_one_character_stays_out_of_a_byte_pair_vocabulary():
    added = content("gpt2")["added_tokens"][0]
    size = num_tokens("gpt2")
    special = content("gpt2") | {"added_tokens": [added, added | {"content": "日", "id": size}], "pre_tokenizer": None}
    tokenizer = load_content(with_tokens(special, {"<a>": size + 1}, set()))
    tokenizer.encode_special_tokens = True
    assert tokenizer.token_to_id("日") == size and size not in tokenizer.encode("日").ids


@pytest.mark.parametrize(
    ("name", "token"),
    [("gpt2", None), ("qwen", None), ("llama2", None), ("gemma", "<unk>"), ("bert", "[UNK]"), ("unigram", "<unk>")],
)
def test_what_stands_for_unknown_characters(name: str, token: str | None):
    assert unknown_id(content(name)) == (None if token is None else TOKENIZERS[name]().get_vocab()[token])


def test_bytes_that_lack_one_need_the_unknown_token():
    model = content("llama2")["model"]
    vocab = {token: id_ for token, id_ in model["vocab"].items() if token != "<0x41>"}
    damaged = content("llama2") | {"model": model | {"vocab": vocab, "unk_token": "<unk>"}}
    assert unknown_id(damaged) == 0


def test_names_that_are_taken_get_a_prefix_until_they_are_free():
    assert unused_names(["<bos>", "<eos>"], {"<bos>", "<joint:bos>"}) == ["<joint:joint:bos>", "<eos>"]
    assert unused_names(["<a>", "<a>"], []) == ["<a>", "<joint:a>"]


def test_content_that_the_library_cannot_keep_is_refused():
    with pytest.raises(InputError, match="the tokenizer cannot be loaded"):
        load_content({"model": {"type": "BPE"}})
    moved = content("qwen")
    moved["added_tokens"][-1]["id"] += 7
    with pytest.raises(InputError, match="the tokenizer cannot keep the ids of its tokens"):
        load_content(moved)
    model = content("gpt2")["model"]
    with pytest.raises(InputError, match="the tokenizer cannot keep the ids of its tokens"):
        load_content(content("gpt2") | {"model": model | {"vocab": model["vocab"] | {"twice": 7}}})
