import os
from pathlib import Path

import numpy as np
import pytest
from test_layout import PYPROJECT

from pictogram.hub.card_facts import CardFacts, draft_metadata
from pictogram.hub.provenance import Provenance, history
from pictogram.hub.shipped import SHIPPED_MODELS, local_folder, shipped_folder
from pictogram.lm.bundle import Bundle
from pictogram.lm.bundle_card import bundle_card, drafted_prompt
from pictogram.pipelines.name_accuracy import measure_name_accuracy
from pictogram.pipelines.picture_origin import check_origin, read_origin
from pictogram.pipelines.text_to_image import TextToImagePipeline
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.pixel_dataset import load_pixels


@pytest.mark.parametrize("name", SHIPPED_MODELS)
def test_a_shipped_model_lies_in_the_package(name):
    folder = shipped_folder(name)
    assert folder is not None and folder == local_folder(name) and folder.name == name


def test_a_folder_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noto").mkdir()
    assert shipped_folder("noto") is not None, "an empty folder is no model"
    (tmp_path / "noto" / "config.json").write_text("{}")
    assert shipped_folder("noto") is None
    assert local_folder("noto").resolve() == tmp_path / "noto"


@pytest.mark.parametrize("name", ["", "Noto", "noto/", "./noto", "owner/noto", "~/noto", os.curdir])
def test_other_names_are_paths(name):
    assert shipped_folder(name) is None
    assert local_folder(name) == local_folder(local_folder(name))


@pytest.fixture(scope="module", params=SHIPPED_MODELS)
def bundle(request) -> Bundle:
    return Bundle.from_pretrained(request.param)


def folder_of(bundle: Bundle) -> Path:
    folder = shipped_folder(bundle.name)
    assert folder is not None
    return folder


def test_they_are_small_enough_for_a_package():
    files = [file for name in SHIPPED_MODELS for file in local_folder(name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 25_000_000


def test_the_package_takes_all_their_files():
    patterns = PYPROJECT["tool"]["setuptools"]["package-data"]["pictogram.hub"]
    place = local_folder("noto").parent.parent
    packed = {path for pattern in patterns for path in place.glob(pattern)}
    assert {file for name in SHIPPED_MODELS for file in local_folder(name).rglob("*") if file.is_file()} <= packed


def test_cards_say_what_was_measured_and_may_be_used(bundle):
    folder = folder_of(bundle)
    facts = CardFacts.of_draft(folder)
    assert facts.license and facts.data_license
    metrics = {
        metric["type"] for result in draft_metadata(folder)["model-index"][0]["results"] for metric in result["metrics"]
    }
    assert {"psnr", "usage", "bits_per_image"} <= metrics and metrics & {"name_accuracy", "accuracy"}
    card = bundle_card(bundle, bundle.name, folder=folder, facts=facts, prompt=drafted_prompt(folder), has_picture=True)
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(card), "written from what lies there"


def test_the_chain_from_pictures_to_samples_is_closed(bundle):
    folder = folder_of(bundle)
    made = Provenance.load(folder)
    assert made is not None and made.image_tokenizer is not None
    made.check(str(folder), {"bundle": bundle.fingerprint, "codes": bundle.vocabulary.codes_fingerprint})
    tokenizer = load_image_tokenizer(bundle.name).checked_provenance()  # which the bundle has
    assert tokenizer is not None
    if bundle.name == "noto":
        assert [each["settings"]["num_steps"] for each in history(made)] == [1200, 1000, 600]
    prints = {"codes": bundle.vocabulary.codes_fingerprint, "decoder": bundle.vocabulary.decoder_fingerprint}
    tokenizer.check(str(folder), prints)
    samples = read_origin(folder / "samples.png")
    assert samples["bundle_fingerprint"] == bundle.fingerprint
    assert [each["prompt"] for each in samples["pictures"]] == made.examples


def test_the_pictures_of_the_card_are_drawn_again(bundle, tmp_path):
    folder = folder_of(bundle)
    first = read_origin(folder / "samples.png")["pictures"][0]
    drawn = TextToImagePipeline(bundle)(first["prompt"], seed=first["seed"])
    assert [level.flatten().tolist() for level in drawn.codes] == first["codes"]
    drawn.save(tmp_path / "again.png")
    check = check_origin(tmp_path / "again.png", bundle)
    assert check.drawn_by_this and check.pixels_are_the_codes


def test_noto_knows_its_names_both_ways():
    bundle = Bundle.from_pretrained("noto")
    dataset, _ = load_pixels("embedded", "train", bundle.image_processor)
    accuracy = measure_name_accuracy(bundle, dataset, seed=1, num_captions=30, guidance_scale=1.0)
    assert accuracy.name_accuracy >= 0.7 and accuracy.caption_accuracy >= 0.5
    assert accuracy.shuffled_captions is not None and accuracy.shuffled_captions <= 0.1


def test_fashion_draws_by_class_name():
    drawn = TextToImagePipeline.from_pretrained("fashion")(["Trouser", "Sneaker"], num_images=8, seed=0)
    ink = [np.asarray(image.convert("L"), dtype=float) / 255 for image in drawn.images]
    heights = [(picture.max(1) > 0.3).sum() for picture in ink]
    assert np.mean(heights[:8]) > np.mean(heights[8:]) + 5, "trousers stand, sneakers lie"
