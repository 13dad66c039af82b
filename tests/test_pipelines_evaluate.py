from dataclasses import replace
from typing import Any

import pytest
from tiny_chain import (
    bundle_folder,
    codes_folder,
    pictures,
    shared_bundle,
    tokenizer_folder,
)

from pictogram.hub.errors import InputError
from pictogram.lm.documents import image_to_text, images_to_ids, text_to_image
from pictogram.lm.rate import measure_rate
from pictogram.pipelines.evaluate import evaluate_names, evaluate_prior, prior_rates
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
from pictogram.tokenizer.codes_dataset import load_codes


def test_a_prior_in_both_directions():
    bundle, codes = shared_bundle(), load_codes(codes_folder())
    ids = images_to_ids(bundle.vocabulary, codes.codes(range(len(codes))))
    words = [bundle.text_tokenizer.encode(codes.captions(row)[0]) for row in range(len(codes))]
    forwards = [text_to_image(bundle.vocabulary, text, image, "2x2") for text, image in zip(words, ids, strict=True)]
    backwards = [image_to_text(bundle.vocabulary, image, text, "2x2") for text, image in zip(words, ids, strict=True)]
    assert prior_rates(bundle, codes) == {
        "text_to_image": measure_rate(bundle.prior, bundle.grammar, forwards),
        "image_to_text": measure_rate(bundle.prior, bundle.grammar, backwards),
    }
    found = evaluate_prior(str(bundle_folder()), str(codes_folder()), "train")
    assert set(found) == {"text_to_image", "image_to_text"}
    assert len(found["text_to_image"]["level_bits"]) == 2


def test_codes_of_another_tokenizer_are_refused(tmp_path):
    options: dict[str, Any] = dict(data=str(pictures()), model=str(tokenizer_folder(1)), output=str(tmp_path / "codes"))
    tokenize(TokenizeConfig(**options))
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        evaluate_prior(str(bundle_folder()), options["output"], "train")


def test_codes_of_several_sizes_are_refused():
    codes = load_codes(codes_folder())
    with pytest.raises(InputError, match="codes of pictures of one size"):
        prior_rates(shared_bundle(), replace(codes, manifest=replace(codes.manifest, grids=None)))


def test_names_from_a_folder():
    found = evaluate_names(str(bundle_folder()), str(pictures()), "train", 0, 3.0, 6)
    assert found["num_captions"] == 6
    assert found["guidance_scale"] == 3.0
