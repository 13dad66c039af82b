import json
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, Qwen3Config

from pictogram.hub.errors import InputError
from pictogram.lm.documents import text_to_image_prompt
from pictogram.lm.joint_tokenizer import joint_tokenizer, load_text_tokenizer, save_joint_tokenizer, text_files
from pictogram.lm.segments import Segment
from pictogram.lm.text_tokenizer import SPACE_SYMBOL, TextTokenizer, train_text_tokenizer
from pictogram.lm.vocabulary import JointVocabulary

WORDS = ["grinning", "face", "with", "eyes", "of", "abab", "aaaa", "banana", "café", "1234"]
WORDS += ["日本の旗", "顔", "हँसता", "चेहरा", "😀😀", "👩\u200d🚒"]
STRINGS = ["<bos>", "</image>", "<image 4x4>", "<|0:00012|>", "<|1:00003|>", "<null>", "<pad>", "<unk>", "<0x41>"]
SIZES = [((1, 1), (4, 4), (8, 8)), ((1, 1), (2, 3), (4, 6))]


def some_captions(count: int) -> list[str]:
    draw = random.Random(0)
    separators = [" "] * 6 + ["  ", "", "\n", "\t", " - ", f"{SPACE_SYMBOL}", "Ω", "\0"]
    captions = []
    for _ in range(count):
        parts = [draw.choice(WORDS) + draw.choice(separators) for _ in range(draw.randint(0, 7))]
        captions.append(draw.choice(["", " ", "  "]) + "".join(parts))
    return captions


TEXT = TextTokenizer(train_text_tokenizer([*some_captions(400), *STRINGS * 9], vocab_size=700))
VOCABULARY = JointVocabulary.from_scratch(TEXT.vocab_size, [64, 32, 16], SIZES[:1]).add_codes(0, 5).add_size(SIZES[1])


@pytest.fixture(scope="module")
def directory(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("bundle")
    save_joint_tokenizer(TEXT, VOCABULARY, path)
    Qwen3Config(vocab_size=VOCABULARY.vocab_size).save_pretrained(path)  # as in a bundle: it suggests another class
    return path


@pytest.fixture(scope="module")
def tokenizer(directory: Path):
    return AutoTokenizer.from_pretrained(directory)


STRANGER = """
import json, sys
from transformers import AutoTokenizer
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
captions = json.load(sys.stdin)
ids = [tokenizer(caption)["input_ids"] for caption in captions]
print(json.dumps({
    "length": len(tokenizer),
    "ids": ids,
    "texts": [tokenizer.decode(row) for row in ids],
    "tokens": tokenizer.convert_ids_to_tokens(range(len(tokenizer))),
    "special": [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id],
    "all_special": sorted(tokenizer.all_special_ids),
}))
assert not any(name.split(".")[0] == "pictogram" for name in sys.modules)
"""


def test_a_process_without_pictogram_sees_the_same_tokenizer(directory: Path):
    captions = some_captions(500)
    run = subprocess.run(
        [sys.executable, "-c", STRANGER, str(directory)],
        input=json.dumps(captions),
        capture_output=True,
        text=True,
        check=True,
        cwd=directory,
    )
    seen = json.loads(run.stdout)
    assert seen["length"] == VOCABULARY.vocab_size
    assert seen["ids"] == [TEXT.encode(caption) for caption in captions]
    assert seen["texts"] == captions
    assert seen["tokens"][TEXT.vocab_size :] == VOCABULARY.tokens()
    assert seen["tokens"][: TEXT.vocab_size] == [piece.replace(SPACE_SYMBOL, " ") for piece in TEXT.pieces]
    assert seen["special"] == [VOCABULARY.pad_id, VOCABULARY.bos_id, VOCABULARY.eos_id]
    assert "transformers" not in run.stderr


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.text(alphabet="ab n"), st.lists(st.sampled_from([*WORDS, " ", "<", "|>"])).map("".join)))
def test_text_encodes_as_in_our_text_tokenizer(tokenizer, text: str):
    ids = tokenizer(text, split_special_tokens=True)["input_ids"]
    assert ids == TEXT.encode(text)
    assert tokenizer.decode(ids) == text


def test_control_tokens_parse_from_a_prompt(tokenizer):
    for caption in ("grinning face", "", " face ", "face\n"):
        prompt = f"<bos>{caption or '<null>'}<image 4x4>"
        assert tokenizer(prompt)["input_ids"] == text_to_image_prompt(VOCABULARY, TEXT.encode(caption), "4x4")
    assert tokenizer("<bos>face<image 2x3>")["input_ids"][-1] == VOCABULARY.image_start_id("2x3")


def test_every_control_token_is_special_and_no_image_token_is(tokenizer):
    for token, id_ in VOCABULARY.control_ids.items():
        assert tokenizer.convert_tokens_to_ids(token) == id_
        assert tokenizer(token)["input_ids"] == [id_]
        assert tokenizer.decode([id_], skip_special_tokens=True) == ""
    codes = VOCABULARY.level_ids(0)[:3].tolist()
    assert tokenizer.decode(codes, skip_special_tokens=True) == "<|0:00000|><|0:00001|><|0:00002|>"


@pytest.mark.parametrize("text", ["<|0:00012|>", "a <|1:00003|><|0:00068|>", "<unk>", "<0x41>"])
def test_strings_that_are_no_control_tokens_stay_text(tokenizer, text: str):
    assert tokenizer(text)["input_ids"] == TEXT.encode(text)


@pytest.mark.parametrize("text", STRINGS)
def test_split_special_tokens_keeps_control_strings_text(directory: Path, tokenizer, text: str):
    assert tokenizer(f"a {text} b", split_special_tokens=True)["input_ids"] == TEXT.encode(f"a {text} b")
    for_users = AutoTokenizer.from_pretrained(directory, split_special_tokens=True)
    assert for_users(f"a {text} b")["input_ids"] == TEXT.encode(f"a {text} b")


def test_saving_it_again_keeps_every_id(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    every_id = range(VOCABULARY.vocab_size)
    assert again.convert_ids_to_tokens(every_id) == tokenizer.convert_ids_to_tokens(every_id)
    assert again("<bos>face <image 4x4>")["input_ids"] == tokenizer("<bos>face <image 4x4>")["input_ids"]


def test_padding_goes_to_the_left(tokenizer):
    batch = tokenizer(["<bos>face", "<bos>grinning face with tears"], padding=True)
    assert batch["input_ids"][0][0] == VOCABULARY.pad_id
    assert batch["attention_mask"][0][0] == 0
    assert set(batch) == {"input_ids", "attention_mask"}


def test_the_text_model_lies_beside_it(directory: Path):
    assert TextTokenizer.load(directory / "tokenizer.model").model == TEXT.model


def test_64k_image_tokens_load_within_a_second(tmp_path):
    vocabulary = JointVocabulary.from_scratch(TEXT.vocab_size, [65536, 16], [((1, 1), (4, 4))])
    save_joint_tokenizer(TEXT, vocabulary, tmp_path)
    started = time.process_time()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert time.process_time() - started < 1.0
    assert len(tokenizer) == vocabulary.vocab_size
    assert tokenizer.convert_ids_to_tokens(vocabulary.codes_to_ids(0, 65535)) == "<|0:65535|>"


def test_a_control_token_that_is_a_piece_too_is_refused():
    word = next(piece for piece in TEXT.pieces[257:] if len(piece) > 3 and piece.isascii())
    segment = Segment("control", VOCABULARY.vocab_size, 1, tokens=(word,))
    with pytest.raises(InputError, match=f"a piece '{word}' that is a control or image token too"):
        joint_tokenizer(TEXT, replace(VOCABULARY, segments=(*VOCABULARY.segments, segment)))


def test_another_text_tokenizer_is_refused():
    vocabulary = JointVocabulary.from_scratch(TEXT.vocab_size + 1, [4], [((1, 1),)])
    with pytest.raises(InputError, match=f"has {TEXT.vocab_size} pieces, but the vocabulary has {TEXT.vocab_size + 1}"):
        joint_tokenizer(TEXT, vocabulary)


def test_the_vocabulary_says_where_the_text_tokenizer_lies(directory: Path, tmp_path):
    loaded = load_text_tokenizer(VOCABULARY, directory)
    assert isinstance(loaded, TextTokenizer) and loaded.model == TEXT.model
    assert text_files(directory) == ["tokenizer.model"] == text_files(tmp_path / "nowhere")
    elsewhere = replace(VOCABULARY, text_file="tokenizer.json")
    assert load_text_tokenizer(elsewhere, directory).encode("grinning face") == TEXT.encode("grinning face")
    elsewhere.save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    assert text_files(tmp_path) == ["chat_template.jinja"]
    with pytest.raises(InputError, match=r"TextTokenizer does not lie in the vocabulary's text_file, tokenizer\.json"):
        save_joint_tokenizer(TEXT, elsewhere, tmp_path)
