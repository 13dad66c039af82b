import copy
import json

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.lm.vocabulary import JointVocabulary

SMALL = ((1, 1), (2, 2), (4, 4))
WIDE = ((1, 1), (2, 4), (4, 8))


@pytest.fixture
def vocabulary() -> JointVocabulary:
    return JointVocabulary.from_scratch(
        300, [4, 6, 8], [SMALL], codes_fingerprint="a" * 64, decoder_fingerprint="b" * 64
    )


def test_layout_from_scratch(vocabulary: JointVocabulary):
    assert vocabulary.text_range == range(300)
    assert vocabulary.control_ids == {
        "<pad>": 300, "<bos>": 301, "<eos>": 302, "<null>": 303, "</image>": 304, "<image 2x2>": 305,
    }  # fmt: skip
    assert (vocabulary.pad_id, vocabulary.bos_id, vocabulary.eos_id) == (300, 301, 302)
    assert (vocabulary.null_id, vocabulary.image_end_id, vocabulary.image_start_id("2x2")) == (303, 304, 305)
    assert vocabulary.level_ids(0).tolist() == [306, 307, 308, 309]
    assert vocabulary.level_ids(2).tolist() == list(range(316, 324))
    assert vocabulary.vocab_size == 324
    assert vocabulary.is_text(299)
    assert not vocabulary.is_text(300)


def test_codes_and_ids_are_inverse_for_ints_and_tensors(vocabulary: JointVocabulary):
    for level, count in enumerate(vocabulary.codebook_sizes):
        codes = torch.arange(count).flip(0).reshape(2, -1)
        ids = vocabulary.codes_to_ids(level, codes)
        assert torch.equal(vocabulary.ids_to_codes(level, ids), codes)
        assert vocabulary.codes_to_ids(level, count - 1) == int(ids[0, 0])
        assert vocabulary.ids_to_codes(level, int(ids[0, 0])) == count - 1
    assert vocabulary.codes_to_ids(0, torch.empty(0, 3, dtype=torch.long)).shape == (0, 3)


def test_grown_codes_and_sizes_move_no_id(vocabulary: JointVocabulary):
    grown = vocabulary.add_codes(0, 3).add_size(WIDE).add_codes(2, 2).add_codes(0, 1)
    assert grown.codebook_sizes == (8, 6, 10)
    assert grown.tokens()[: len(vocabulary.tokens())] == vocabulary.tokens()
    assert {**grown.control_ids, **vocabulary.control_ids} == grown.control_ids
    assert grown.level_ids(0).tolist() == [306, 307, 308, 309, 324, 325, 326, 330]
    assert grown.image_start_id("2x4") == 327
    for level, count in enumerate(grown.codebook_sizes):
        codes = torch.arange(count)
        ids = grown.codes_to_ids(level, codes)
        assert torch.equal(grown.ids_to_codes(level, ids), codes)
        old = vocabulary.level_ids(level)
        assert torch.equal(ids[: len(old)], old)
    assert vocabulary.vocab_size == 324  # the old one is as it was


def test_adding_a_known_size_changes_nothing(vocabulary: JointVocabulary):
    assert vocabulary.add_size(SMALL) is vocabulary


def test_tokens_are_distinct_and_one_per_id(vocabulary: JointVocabulary):
    grown = vocabulary.add_codes(1, 2)
    tokens = grown.tokens()
    assert len(tokens) == len(set(tokens)) == grown.vocab_size - 300
    assert tokens[vocabulary.codes_to_ids(0, 2) - 300] == "<|0:00002|>"
    assert tokens[-1] == "<|1:00007|>"
    assert grown.describe(grown.vocab_size - 1) == "id 325 (<|1:00007|>)"
    assert grown.describe(301) == "id 301 (<bos>)"
    assert grown.describe(7) == "id 7 (text)"
    assert "outside" in grown.describe(-1)


def test_reserved_ids_are_no_text(tmp_path):
    vocabulary = JointVocabulary.from_scratch(
        300, [4, 6, 8], [SMALL], text_file="tokenizer.json", reserved_text_ids=[298, 0, 299]
    )
    assert vocabulary.reserved_text_ids == {0, 298, 299} and vocabulary.text_range == range(300)
    assert [vocabulary.is_text(id_) for id_ in (0, 1, 297, 298, 299, 300)] == [False, True, True, False, False, False]
    assert (vocabulary.describe(0), vocabulary.describe(1)) == ("id 0 (reserved)", "id 1 (text)")
    grown = vocabulary.add_codes(0, 3).add_size(WIDE)
    assert (grown.reserved_text_ids, grown.text_file) == (vocabulary.reserved_text_ids, "tokenizer.json")
    grown.save(tmp_path)
    assert JointVocabulary.load(tmp_path) == grown


def test_files_from_before_there_were_text_files_load(vocabulary: JointVocabulary):
    content = vocabulary.to_json()
    assert content.pop("text_file") == "tokenizer.model" and "reserved" not in content["segments"][0]
    assert JointVocabulary.from_json(content) == vocabulary


@pytest.mark.parametrize("order", ["level", "pyramid"])
def test_file_round_trip(vocabulary: JointVocabulary, order: str, tmp_path):
    vocabulary = (
        JointVocabulary.from_scratch(300, [4, 6, 8], [SMALL, WIDE], order)
        .add_codes(1, 5)
        .add_size([(1, 1), (8, 8), (8, 8)])
    )
    vocabulary.save(tmp_path)
    assert JointVocabulary.load(tmp_path) == vocabulary


def test_the_file_explains_itself(vocabulary: JointVocabulary):
    content = json.loads(json.dumps(vocabulary.to_json()))
    assert content["format"] == 1
    assert content["order"] == "level"
    assert content["sizes"] == {"2x2": [[1, 1], [2, 2], [4, 4]]}
    assert content["segments"][1]["ids"]["<image 2x2>"] == 305
    assert content["segments"][3] == {"kind": "image", "start": 310, "count": 6, "level": 1, "first_code": 0}
    assert content["codes_fingerprint"] == "a" * 64
    assert any(line.startswith("document = ") for line in content["about"])


def _without(key):
    return lambda content: content.pop(key)


def _set(*path_and_value):
    *path, key, value = path_and_value

    def damage(content):
        for step in path:
            content = content[step]
        content[key] = value

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_set("format", 2), "format 2"),
        (_without("order"), "lacks 'order'"),
        (_without("segments"), "lacks 'segments'"),
        (_set("order", "spiral"), "spiral"),
        (_set("vocab_size", 5), "says vocab_size 5"),
        (_set("segments", 2, "start", 309), "must start at id 306"),
        (_set("segments", 3, "start", 308), "must start at id 310"),
        (_set("segments", 3, "count", "6"), "whole numbers"),
        (_set("segments", 3, "level", 5), "without a gap"),
        (_set("segments", 3, "first_code", 1), "must go on with code 0"),
        (_set("segments", 3, "kind", "sound"), "expected a control or image segment"),
        (_set("segments", 1, "ids", "<pad>", 7), "do not count up"),
        (_set("segments", []), "begins with a text segment"),
        (_set("segments", 7), "malformed"),
        (_set("text_file", "vocab.txt"), "text_file is 'vocab.txt', expected one of tokenizer.model, tokenizer.json"),
        (_set("segments", 0, "reserved", [[290, 20]]), "expected ascending runs"),
        (_set("segments", 0, "reserved", 7), "malformed"),
        (_set("sizes", {}), "at least one image size"),
        (_set("sizes", "2x2", [[1, 1], [2, 2]]), "expected 3 levels"),
        (_set("sizes", "2x2", [[1, 1], [2, 2], [5, 4]]), "whole multiples"),
        (_set("sizes", "2x2", [[1, 1], [2.5, 2], [4, 4]]), "malformed"),
        (_set("sizes", "9x9", [[1, 1], [2, 2], [4, 4]]), "size 9x9"),
        (_set("sizes", "3x3", [[1, 1], [3, 3], [3, 3]]), "<image 3x3>"),
    ],
)
def test_damaged_files_are_refused(vocabulary: JointVocabulary, damage, message):
    content = copy.deepcopy(vocabulary.to_json())
    damage(content)
    with pytest.raises(InputError, match=message):
        JointVocabulary.from_json(content)


@pytest.mark.parametrize("content", [None, [], "text", 3, {}])
def test_files_of_another_kind_are_refused(content):
    with pytest.raises(InputError, match="format"):
        JointVocabulary.from_json(content)


def test_values_outside_the_vocabulary_are_refused(vocabulary: JointVocabulary):
    for codes in (torch.tensor([0, 4]), torch.tensor([-1])):
        with pytest.raises(InputError, match="codes of level 0"):
            vocabulary.codes_to_ids(0, codes)
    for id_ in (0, 305, 310, 400):
        with pytest.raises(InputError, match="is not a code of level 0"):
            vocabulary.ids_to_codes(0, id_)
    for level in (-1, 3):
        with pytest.raises(InputError, match="does not exist; levels are 0 to 2"):
            vocabulary.level_ids(level)
    with pytest.raises(InputError, match="'9x9' is not in the vocabulary; known sizes: 2x2"):
        vocabulary.image_start_id("9x9")
    with pytest.raises(InputError, match=r"grids 1x1\+2x4\+4x8 are not in the vocabulary, which knows 2x2: 1x1\+2x2"):
        vocabulary.size_of(WIDE)
    with pytest.raises(InputError, match="share the coarsest spatial grid 2x2"):
        vocabulary.add_size([(1, 1), (2, 2), (8, 8)])


@pytest.mark.parametrize(
    "arguments",
    [(0, [4], [[(1, 1)]]), (5, [], [[(1, 1)]]), (5, [0], [[(1, 1)]]), (5, [4], []), (5, [4, 4], [[(1, 1)]])],
)
def test_impossible_layouts_are_refused(arguments):
    with pytest.raises(InputError):
        JointVocabulary.from_scratch(*arguments)
