from dataclasses import replace

import pytest
from tiny_chain import bundle_folder, codes_folder, pictures, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.pipelines.evaluation_input import EvaluationInput, choose_rows
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.codes_dataset import load_codes


def test_bundle_codes_and_rows_belong_together():
    found = EvaluationInput.open(str(bundle_folder()), str(codes_folder()), "train", 5)
    assert found.bundle.vocabulary.codes_fingerprint == found.codes.manifest.codes_fingerprint
    assert found.rows == choose_rows(found.codes, 5)
    assert found.protocol["codes_fingerprint"] == found.bundle.vocabulary.codes_fingerprint
    assert found.protocol["split"] == "train"
    assert found.protocol["choice"] == "at most 5 of a split, seed 0"
    assert EvaluationInput.open(str(bundle_folder()), str(codes_folder()), "train", None).rows == list(range(16))


def test_codes_of_another_tokenizer_are_refused(tmp_path):
    codes = str(tmp_path / "codes")
    tokenize(TokenizeConfig(data=str(pictures()), model=str(tokenizer_folder(1)), output=codes))
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        EvaluationInput.open(str(bundle_folder()), codes, "train", None)


def test_the_choice_is_fixed_and_grows():
    codes = load_codes(codes_folder())
    some = choose_rows(codes, 6)
    assert some == sorted(set(some)) == choose_rows(codes, 6)
    assert len(some) == 6 and some != list(range(6))
    assert set(choose_rows(codes, 3)) < set(some) < set(choose_rows(codes, 9))
    assert choose_rows(codes, 100) == choose_rows(codes, None) == list(range(16))
    with pytest.raises(InputError, match="max_images must be at least 1, got 0"):
        choose_rows(codes, 0)


def test_only_plain_views_count():
    codes = load_codes(codes_folder())
    with_views = replace(codes, dataset=codes.dataset.map(lambda _, row: {"view": row % 4 // 2}, with_indices=True))
    assert choose_rows(with_views, None) == [0, 1, 4, 5, 8, 9, 12, 13]
    others = with_views.dataset.select([2, 3, 6])
    with pytest.raises(InputError, match=r"holds no pictures as they are \(view 0\)"):
        choose_rows(replace(codes, dataset=others), None)
