import math

import pytest
import torch

from pictogram.tokenizer.symbol_words import informative_words, words_of

CAPTIONS = [["red apple"], ["red apple", "Apple, red"], ["green pear"], ["green apple"], [], [""]]
PRESENCE = torch.tensor([[1, 0, 1], [1, 0, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1]]).bool()


def test_words_of_many_scripts():
    assert words_of("Crème brûlée, don't! 日本の旗 T-shirt/top __x") == [
        "crème",
        "brûlée",
        "don't",
        "日本の旗",
        "t-shirt",
        "top",
        "x",
    ]
    assert words_of(" -!? ") == []


def test_words_are_ranked_by_their_part_in_the_divergence():
    first, second, everywhere = informative_words(CAPTIONS, PRESENCE)
    assert [word.word for word in first] == ["red", "apple"]
    assert first[0].bits == pytest.approx(math.log2(3)) and first[0].share == 1
    assert first[1].bits == pytest.approx(math.log2(2))
    assert [word.word for word in second] == ["green"]  # pear and apple meet the symbol once only
    assert everywhere == []  # no word is more frequent where it occurs than in all


def test_a_bound_on_words_and_names():
    assert len(informative_words(CAPTIONS, PRESENCE, most=1)[0]) == 1
    assert [word.word for word in informative_words(CAPTIONS, PRESENCE, vocabulary=1)[0]] == ["apple"]


def test_no_captions_no_words():
    assert informative_words([[], [""]], torch.ones(2, 3).bool()) == [[], [], []]


def test_parts_make_the_whole(monkeypatch):
    whole = informative_words(CAPTIONS, PRESENCE)
    monkeypatch.setattr("pictogram.tokenizer.symbol_words._PAIRS_AT_ONCE", 2)
    assert informative_words(CAPTIONS, PRESENCE) == whole
