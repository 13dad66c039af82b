from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_pictures import smooth_folder

from pictogram.hub.errors import InputError
from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.fingerprints import codes_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.import_tokenizer import save
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.pixel_dataset import load_pixels
from pictogram.tokenizer.train_patches import PatchesTrainingConfig, run_training, train_patches


def config(tmp_path, **options) -> PatchesTrainingConfig:
    if not (tmp_path / "data").exists():
        smooth_folder(tmp_path / "data")
    settings: dict[str, Any] = {"image_size": 8, "num_channels": 1, "codebook_size": 16} | options
    return PatchesTrainingConfig(data=str(tmp_path / "data"), output=str(tmp_path / "patches"), **settings)


def error_and_codes(loaded, tmp_path):
    processor = ImageTokenizerImageProcessorPil(size={"height": 8, "width": 8}, num_channels=1)
    pixels = load_pixels(str(tmp_path / "data"), "train", processor)[0].pixels(range(40))
    codes = loaded.model.encode(pixels)
    return float((loaded.model.decode(codes) - pixels).square().mean()), codes[0]


@pytest.mark.parametrize("per_place", [False, True])
def test_more_codes_come_nearer(tmp_path, per_place):
    few, _ = error_and_codes(train_patches(config(tmp_path, codebook_size=2, per_place=per_place)).loaded, tmp_path)
    many, codes = error_and_codes(
        train_patches(config(tmp_path, codebook_size=16, per_place=per_place)).loaded, tmp_path
    )
    assert many < few / 2
    assert codes.shape == (40, 2, 2) and int(codes.max()) < 16


def test_as_many_codes_as_patches_are_lossless(tmp_path):
    error, _ = error_and_codes(train_patches(config(tmp_path, codebook_size=40, per_place=True)).loaded, tmp_path)
    assert error < 1e-9


def test_a_price_on_bits_leaves_fewer_of_them(tmp_path):
    def entropy(codes):
        shares = codes.flatten().bincount().float() / codes.numel()
        return float(torch.special.entr(shares).sum())

    free_error, free = error_and_codes(train_patches(config(tmp_path)).loaded, tmp_path)
    dear_error, dear = error_and_codes(train_patches(config(tmp_path, rate_weight=2000.0)).loaded, tmp_path)
    assert entropy(dear) < entropy(free)
    assert free_error < dear_error
    # J on the pictures learned from, errors of 8-bit values: each is best at its own weight.
    costs = {
        weight: [64 * 127.5**2 * error + weight * 4 * entropy(codes) / torch.log(torch.tensor(2)) for error, codes in
                 ((free_error, free), (dear_error, dear))]
        for weight in (0, 2000)
    }  # fmt: skip
    assert costs[0][0] < costs[0][1] and costs[2000][1] < costs[2000][0]


def test_the_same_seed_the_same_codebooks(tmp_path):
    prints = []
    for seed in (0, 0, 1):
        loaded = train_patches(config(tmp_path, max_images=30, max_points=20, seed=seed)).loaded
        prints.append(codes_fingerprint(loaded.model, loaded.processor))
    assert prints[0] == prints[1] != prints[2]


def test_places_that_have_fewer_codes_never_take_the_others(tmp_path):
    loaded = train_patches(config(tmp_path, per_place=True, rate_weight=4000.0)).loaded
    costs = loaded.model.codes_tensors()["costs"]
    used = (costs < 1e5).sum(1)
    assert int(used.max()) == costs.shape[1] and int(used.min()) < costs.shape[1]
    _, codes = error_and_codes(loaded, tmp_path)
    assert bool((codes.flatten(1).amax(0) < used).all())


def test_the_provenance_says_what_it_learned(tmp_path):
    loaded = train_patches(config(tmp_path, rate_weight=4.0)).loaded
    found = loaded.checked_provenance()
    assert found is not None
    assert (found.stage, found.data["name"], found.settings["data"]) == ("patches", "data", "data")
    assert found.settings["rate_weight"] == 4.0 and "output" not in found.settings
    assert isinstance(loaded.model, AdaptedTokenizer)
    save(loaded.model, loaded.processor, tmp_path / "patches")  # what nobody knows the origin of
    assert load_image_tokenizer(tmp_path / "patches").provenance is None


def test_pictures_that_cannot_be_read_are_listed(tmp_path):
    settings = config(tmp_path)
    (tmp_path / "data" / "train" / "page.png").write_text("<html></html>")
    (failure,) = run_training(settings)["failures"]
    assert (failure["key"], failure["reason"]) == ("train/page.png", "not a picture PIL can read")
    assert run_training(replace(settings, split="test"))["failures"] == []


def test_mistakes(tmp_path):
    with pytest.raises(InputError, match="8"):
        config(tmp_path, patch_size=3)
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"holds notes\.txt"):
        train_patches(config(tmp_path))
