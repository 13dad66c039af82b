"""The chances that a prior gives to codes: the same however they are asked for."""

import pytest
import torch
from tiny_chain import prior, shared_bundle
from tiny_codec import chances, drawn_codes

from pictogram.hub.errors import InputError
from pictogram.lm.code_chances import PriorChances
from pictogram.lm.code_frequencies import FrequencyTables
from pictogram.lm.code_stream import encode_codes
from pictogram.lm.coding_prior import coding_prior
from pictogram.lm.order import ORDERS


@pytest.mark.parametrize("order", ORDERS)
def test_tables_do_not_depend_on_how_they_are_computed(order, monkeypatch):
    """One pass or step by step, together or alone, in runs of any length."""
    source = chances(order)
    codes = drawn_codes(source, 12)
    expected = [FrequencyTables.of(row) for part in source.of_codes(codes) for row in part.unbind(1)]
    reader = source.reader(12)
    for place, tables in enumerate(expected):
        assert torch.equal(FrequencyTables.of(reader.chances()).starts, tables.starts)
        reader.append(codes[:, place])
    for row in range(12):
        alone = [part for part in source.of_codes(codes[row : row + 1])]
        for tables, one in zip(expected, [c for part in alone for c in part.unbind(1)], strict=True):
            assert torch.equal(FrequencyTables.of(one).starts, tables.starts[row : row + 1])
    monkeypatch.setattr("pictogram.lm.code_chances._NUMBERS_AT_ONCE", 1)
    assert len(list(source.of_codes(codes))) == 5
    assert encode_codes(source, codes).payload == encode_codes(chances(order), codes).payload


def test_chances_are_those_of_the_prior():
    source, model = chances(), prior(shared_bundle("level").vocabulary)
    codes = drawn_codes(source, 3)
    vocabulary = source.vocabulary
    ids = torch.stack([vocabulary.codes_to_ids(level, codes[:, place]) for place, level in enumerate(source.levels)], 1)
    with torch.no_grad():
        logits = model(torch.cat([torch.tensor([source.prompt] * 3), ids], 1)).logits.double()
    places = [row for part in source.of_codes(codes) for row in part.unbind(1)]
    for place, (level, found) in enumerate(zip(source.levels, places, strict=True)):
        legal = logits[:, len(source.prompt) - 1 + place, vocabulary.level_ids(level)]
        assert torch.allclose(found, torch.softmax(legal, 1), atol=1e-5)


def test_a_picture_must_fit_into_the_context():
    vocabulary = shared_bundle("level").vocabulary
    with pytest.raises(InputError, match="takes 8 places, but the prior has 7"):
        PriorChances(coding_prior(prior(vocabulary)), vocabulary, "2x2", 7)
    with pytest.raises(InputError, match="9x9"):
        PriorChances(coding_prior(prior(vocabulary)), vocabulary, "9x9", 64)
