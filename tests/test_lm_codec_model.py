"""What compressed files ask for by name."""

import copy
import dataclasses

import pytest
import torch
from tiny_chain import shared_bundle
from tiny_codec import static_chances

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.codec_model import PriorModel, StaticModel
from pictogram.lm.static_chances import count_codes

GRIDS = ((1, 1), (2, 2))


def with_tables() -> Bundle:
    return dataclasses.replace(shared_bundle("level"), static_chances=static_chances())


def test_the_name_survives_saving(tmp_path):
    bundle = with_tables()
    bundle.save_pretrained(tmp_path)
    loaded = Bundle.from_pretrained(tmp_path)
    for kind in (PriorModel, StaticModel):
        assert kind(loaded).model_id == kind(bundle).model_id
        assert len(kind(loaded).model_id) == 4
    assert PriorModel(bundle).model_id != StaticModel(bundle).model_id


def test_every_change_of_the_model_changes_its_name():
    bundle = with_tables()
    changed = copy.deepcopy(bundle.prior)
    with torch.no_grad():
        list(changed.parameters())[-1].view(-1)[-1] += 1e-4
    assert PriorModel(dataclasses.replace(bundle, prior=changed)).model_id != PriorModel(bundle).model_id
    assert PriorModel(shared_bundle("pyramid")).model_id != PriorModel(bundle).model_id
    other = dataclasses.replace(bundle, static_chances=static_chances("pyramid"))
    assert StaticModel(other).model_id != StaticModel(bundle).model_id
    retrained = dataclasses.replace(bundle.vocabulary, decoder_fingerprint="0" * 64)
    assert StaticModel(dataclasses.replace(bundle, vocabulary=retrained)).model_id != StaticModel(bundle).model_id


def test_chances_of_pictures_of_its_size():
    for model in (PriorModel(with_tables()), StaticModel(with_tables())):
        assert list(model.chances(GRIDS).levels) == [0, 1, 1, 1, 1]
        with pytest.raises(InputError, match="grids"):
            model.chances(((1, 1), (3, 3)))


def test_tables_that_are_missing_or_of_other_codebooks():
    with pytest.raises(InputError, match="has no tables of codes"):
        StaticModel(shared_bundle("level"))
    codes = [torch.zeros(1, 1, 1, dtype=torch.int64), torch.zeros(1, 2, 2, dtype=torch.int64)]
    other = count_codes(iter([codes]), [6, 10], GRIDS, "level")
    with pytest.raises(InputError, match=r"codebooks of \(6, 10\) codes, but the bundle has \(6, 9\)"):
        StaticModel(dataclasses.replace(shared_bundle("level"), static_chances=other))
