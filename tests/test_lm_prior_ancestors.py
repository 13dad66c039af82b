"""How a vocabulary names the bundles that it was grown from."""

from dataclasses import replace

import pytest
from tiny_chain import shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.prior_ancestors import PriorAncestor, check_prior_ancestors
from pictogram.lm.vocabulary import JointVocabulary

ANCESTOR = PriorAncestor("0123abcd", 305, "a" * 64, "b" * 64)


def test_what_is_written_is_read_again():
    assert PriorAncestor.from_json(ANCESTOR.to_json()) == ANCESTOR


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_id": "xyz"}, "must be hexadecimal, got"),
        ({"model_id": 7}, "must be hexadecimal, got"),
        ({"codes_fingerprint": None}, "must be hexadecimal, got"),
        ({"vocab_size": "305"}, "must be a whole number, got '305'"),
        ({"vocab_size": True}, "must be a whole number"),
        ({"more": 1}, "an ancestor must have model_id, vocab_size"),
    ],
)
def test_malformed_ones(change, message):
    with pytest.raises(InputError, match=message):
        PriorAncestor.from_json(ANCESTOR.to_json() | change)


def test_they_end_with_segments():
    younger = replace(ANCESTOR, vocab_size=314)
    check_prior_ancestors([], [290, 305])
    check_prior_ancestors([ANCESTOR, younger], [290, 305, 314, 320])
    for wrong in ([younger, ANCESTOR], [ANCESTOR, ANCESTOR], [replace(ANCESTOR, vocab_size=300)]):
        with pytest.raises(InputError, match="expected ascending ends of segments"):
            check_prior_ancestors(wrong, [290, 305, 314, 320])
    with pytest.raises(InputError, match="expected ascending ends"):
        check_prior_ancestors([ANCESTOR], [290, 305])


def test_vocabularies_keep_them_and_others_stay_as_they_were():
    plain = shared_bundle("level").vocabulary
    assert "ancestors" not in plain.to_json() and JointVocabulary.from_json(plain.to_json()) == plain
    grown = replace(plain.add_codes(1, 3), ancestors=(replace(ANCESTOR, vocab_size=plain.vocab_size),))
    assert JointVocabulary.from_json(grown.to_json()) == grown
    content = grown.to_json() | {"ancestors": [{"model_id": "00"}]}
    with pytest.raises(InputError, match="malformed: an ancestor must have"):
        JointVocabulary.from_json(content)
