import json
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_chain import home
from tiny_language_models import CHAT_TEMPLATE, LINES, STRINGS, TOKENIZERS, num_tokens
from transformers import AutoTokenizer, GPT2Config, LlamaConfig, PreTrainedTokenizerFast, Qwen3Config

from pictogram.hub.errors import InputError
from pictogram.lm.extended_tokenizer import check_extended_tokenizer, extended_tokens, save_extended_tokenizer
from pictogram.lm.pretrained_text import PretrainedTextTokenizer
from pictogram.lm.vocabulary import JointVocabulary

SIZES = [((1, 1), (2, 2)), ((1, 1), (2, 3))]
CONFIGS = {"gpt2": GPT2Config, "llama2": LlamaConfig, "llama3": LlamaConfig, "qwen": Qwen3Config}
MESSAGES = [{"role": "user", "content": "a red apple"}, {"role": "assistant", "content": "no <bos>"}]


@cache
def text(name: str) -> PretrainedTextTokenizer:
    return PretrainedTextTokenizer.from_transformers(TOKENIZERS[name](), num_tokens(name) + 5)


@cache
def vocabulary(name: str) -> JointVocabulary:
    return JointVocabulary.from_scratch(
        text(name).vocab_size,
        [6, 9],
        SIZES[:1],
        text_file="tokenizer.json",
        reserved_text_ids=text(name).reserved_ids,
    )


@cache
def folder(name: str) -> Path:
    """As in a bundle: beside a config.json that may suggest another tokenizer class."""
    path = home() / f"extended-{name}"
    save_extended_tokenizer(text(name), vocabulary(name), path)
    CONFIGS.get(name, GPT2Config)(vocab_size=vocabulary(name).vocab_size).save_pretrained(path)
    return path


@cache
def stock(name: str) -> Any:
    return AutoTokenizer.from_pretrained(folder(name))


texts = st.one_of(st.text(), st.lists(st.sampled_from([*LINES, *STRINGS, " ", "\n"]), max_size=5).map("".join))


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(deadline=None, max_examples=50)
@given(text=texts)
def test_a_stock_loader_encodes_text_as_before(name: str, text: str):
    """A word-level vocabulary alone finds in it whatever is spelled as a whole word, and so it did before."""
    options = {"split_special_tokens": True}
    assert stock(name)(text, **options)["input_ids"] == TOKENIZERS[name]()(text, **options)["input_ids"]


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_stock_loader_has_every_token_at_its_id(name: str):
    tokenizer, names = stock(name), extended_tokens(text(name), vocabulary(name))
    assert len(tokenizer) == vocabulary(name).vocab_size == tokenizer.backend_tokenizer.get_vocab_size()
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == [*text(name).tokens, *names]
    assert all(tokenizer.convert_tokens_to_ids(token) == id_ for token, id_ in TOKENIZERS[name]().get_vocab().items())


@pytest.mark.parametrize("name", TOKENIZERS)
def test_texts_and_old_special_tokens_are_parsed_as_before(name: str):
    old = TOKENIZERS[name]()
    lines = [*LINES[:5], "<s> red apple</s>", "a<|endoftext|>b", "x<|im_end|>", "y <think> z"]
    assert stock(name)(lines)["input_ids"] == old(lines)["input_ids"]
    ids = old(lines[1])["input_ids"]
    assert stock(name).decode(ids) == old.decode(ids)
    kept = {key: value for key, value in old.special_tokens_map.items() if key != "pad_token"}
    assert {key: stock(name).special_tokens_map[key] for key in kept} == kept
    assert stock(name).pad_token_id == vocabulary(name).pad_id


@pytest.mark.parametrize("name", TOKENIZERS)
def test_control_tokens_are_special_and_parse(name: str):
    tokenizer = stock(name)
    for id_ in vocabulary(name).control_ids.values():
        token = tokenizer.convert_ids_to_tokens(id_)
        assert tokenizer(f"red{token}", add_special_tokens=False)["input_ids"][-1] == id_
        assert tokenizer.decode([id_], skip_special_tokens=True) == ""


@pytest.mark.parametrize("name", ["gpt2", "qwen", "llama3", "llama2", "gemma"])
def test_image_tokens_of_byte_pair_models_are_never_parsed(name: str):
    for string in ("<|0:00001|>", "a <|1:00003|>", "<|0:00001|><|0:00002|>"):
        assert stock(name)(string)["input_ids"] == TOKENIZERS[name]()(string)["input_ids"]


def test_a_string_that_the_old_tokenizer_has_is_spelled_otherwise():
    names = dict(zip(vocabulary("gemma").tokens(), extended_tokens(text("gemma"), vocabulary("gemma")), strict=True))
    assert {token: name for token, name in names.items() if token != name} == {
        "<pad>": "<joint:pad>",
        "<bos>": "<joint:bos>",
        "<eos>": "<joint:eos>",
        "</image>": "<joint:/image>",
    }
    tokenizer = stock("gemma")
    old, new = tokenizer.convert_tokens_to_ids(["<bos>", "<joint:bos>"])
    assert (old, new) == (TOKENIZERS["gemma"]().bos_token_id, vocabulary("gemma").bos_id)
    assert tokenizer.bos_token == "<bos>" and tokenizer.pad_token == "<joint:pad>"


@pytest.mark.parametrize("name", ["qwen", "llama3", "llama2"])
def test_chats_are_written_as_before(name: str):
    options = {"tokenize": False}
    assert stock(name).chat_template == CHAT_TEMPLATE
    assert stock(name).apply_chat_template(MESSAGES, **options) == TOKENIZERS[name]().apply_chat_template(
        MESSAGES, **options
    )
    old = TOKENIZERS[name]().apply_chat_template(MESSAGES[:1], return_dict=False)
    assert stock(name).apply_chat_template(MESSAGES[:1], return_dict=False) == old


def test_several_chat_templates_are_kept(tmp_path):
    template = {"default": CHAT_TEMPLATE, "tool_use": "{{ tools }}"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=TOKENIZERS["gpt2"]().backend_tokenizer, chat_template=template, eos_token="<|endoftext|>"
    )
    several = PretrainedTextTokenizer.from_transformers(tokenizer, text("gpt2").vocab_size)
    save_extended_tokenizer(several, vocabulary("gpt2"), tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == template


@pytest.mark.parametrize("name", TOKENIZERS)
def test_loading_and_saving_gives_the_same_bytes(name: str, tmp_path):
    loaded = PretrainedTextTokenizer.load(folder(name), text(name).vocab_size)
    check_extended_tokenizer(loaded, vocabulary(name), folder(name))
    save_extended_tokenizer(loaded, vocabulary(name), tmp_path)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder(name) / path.name).read_bytes()
    assert all(loaded.encode(line) == text(name).encode(line) for line in [*LINES, *STRINGS])


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_longer_vocabulary_moves_no_id(name: str, tmp_path):
    loaded = PretrainedTextTokenizer.load(folder(name), text(name).vocab_size)
    grown = vocabulary(name).add_codes(0, 5).add_size(SIZES[1]).add_codes(1, 2)
    save_extended_tokenizer(loaded, grown, tmp_path)
    tokenizer, old = AutoTokenizer.from_pretrained(tmp_path), stock(name)
    assert len(tokenizer) == grown.vocab_size == len(old) + 8
    assert tokenizer.convert_ids_to_tokens(range(len(old))) == old.convert_ids_to_tokens(range(len(old)))
    assert tokenizer.convert_ids_to_tokens(grown.image_start_id("2x3")) == "<image 2x3>"
    check_extended_tokenizer(loaded, grown, tmp_path)
    with pytest.raises(InputError, match=r"does not belong to the vocabulary.json beside it"):
        check_extended_tokenizer(loaded, vocabulary(name), tmp_path)


STRANGER = """
import json, sys
from transformers import AutoTokenizer
lines, found = json.loads(sys.argv[1]), []
for folder in sys.argv[2:]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    vocabulary = json.load(open(folder + "/vocabulary.json"))
    ids = tokenizer(lines, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    found.append([len(tokenizer), vocabulary["vocab_size"], ids])
print(json.dumps(found))
assert "pictogram" not in sys.modules
"""


def test_a_process_without_pictogram_sees_the_same_ids(tmp_path):
    lines = [*LINES, *STRINGS]
    for name in TOKENIZERS:
        vocabulary(name).save(folder(name))
    command = [sys.executable, "-c", STRANGER, json.dumps(lines), *(str(folder(name)) for name in TOKENIZERS)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    for name, (length, vocab_size, ids) in zip(TOKENIZERS, json.loads(run.stdout), strict=True):
        assert length == vocab_size == vocabulary(name).vocab_size
        assert ids == [text(name).encode(line) for line in lines]


@pytest.mark.parametrize("name", ["gpt2", "llama3"])
def test_64k_image_tokens_load_within_a_second(name: str, tmp_path):
    many = JointVocabulary.from_scratch(
        text(name).vocab_size, [65536, 16], SIZES[:1], reserved_text_ids=text(name).reserved_ids
    )
    save_extended_tokenizer(text(name), many, tmp_path)
    started = time.process_time()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert time.process_time() - started < 1.0
    assert tokenizer.convert_ids_to_tokens(many.codes_to_ids(0, 65535)) == "<|0:65535|>"


def test_another_text_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"\(\d+ ids, 6 of them reserved\) is not the vocabulary's \(\d+ ids, 8 "):
        save_extended_tokenizer(text("gpt2"), vocabulary("qwen"), tmp_path)
    assert not list(tmp_path.iterdir())
