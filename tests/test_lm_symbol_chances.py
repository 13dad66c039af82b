import pytest
import torch
from tiny_chain import GRIDS, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.documents import text_to_image_prompt
from pictogram.lm.first_code import score_first_codes
from pictogram.lm.symbol_chances import symbol_chances

TEXTS = ["red apple", "日本の旗"]


def test_chances_are_those_of_the_first_code_behind_the_text():
    bundle = shared_bundle()
    found = symbol_chances(bundle, TEXTS, "2x2")
    rows = torch.cat([found.alone[None], found.given])
    for text, row in zip(["", *TEXTS], rows, strict=True):
        prompt = text_to_image_prompt(bundle.vocabulary, bundle.text_tokenizer.encode(text) if text else [], "2x2")
        scores = score_first_codes(bundle.prior, bundle.vocabulary, "2x2", prompt, torch.zeros(0, dtype=torch.int64))
        torch.testing.assert_close(row, torch.softmax(scores, 0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(rows.sum(1), torch.ones(3, dtype=torch.float64))


def test_bits_sum_to_the_divergence_from_what_is_expected_without_words():
    found = symbol_chances(shared_bundle(), TEXTS, "2x2")
    expected = (found.given * (found.given / found.alone).log2()).sum(1)
    torch.testing.assert_close(found.bits.sum(1), expected)
    assert (expected > 0).all()


def test_progress_counts_texts_and_none_are_fine():
    counted: list[int] = []
    symbol_chances(shared_bundle(), TEXTS, "2x2", counted.append)
    assert counted == [1, 1]
    assert symbol_chances(shared_bundle(), [], "2x2").given.shape == (0, 6)


def test_unknown_sizes_and_tokenizers_without_a_whole_image_code_are_refused(monkeypatch):
    with pytest.raises(InputError, match="9x9"):
        symbol_chances(shared_bundle(), TEXTS, "9x9")
    vocabulary = shared_bundle().vocabulary
    monkeypatch.setattr(type(vocabulary), "grids", lambda self, size: GRIDS[1:])
    with pytest.raises(InputError, match=r"need a whole-image code; the coarsest grid is \(2, 2\)"):
        symbol_chances(shared_bundle(), TEXTS, "2x2")
