import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_chain import NUM_PICTURES, image_tokenizer, pictures, processor, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.pipelines.evaluate_tokenizer import evaluate_image_tokenizer
from pictogram.tokenizer.feature_space import load_feature_space
from pictogram.tokenizer.fingerprints import codes_fingerprint, decoder_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.pixel_dataset import load_pixels
from pictogram.tokenizer.report import report_on_tokenizer


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """Twelve pictures to train on and four to test, in two classes, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("splits")
    for index, path in enumerate(sorted(pictures().glob("*.png"))):
        target = folder / ("test" if index % 4 == 3 else "train") / ("low" if index < 8 else "high")
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (folder / "test" / "low" / "bad.png").write_text("no picture")
    return folder


def evaluate(data, split: str, **options):
    return evaluate_image_tokenizer(str(tokenizer_folder()), str(data), split, **options)


def test_one_split_by_itself():
    found = evaluate(pictures(), "train")
    dataset = load_pixels(str(pictures()), "train", processor())[0]
    expected = report_on_tokenizer(
        image_tokenizer(), dataset, split="train", feature_space=load_feature_space("thumbnail")
    )
    assert {name: found[name] for name in expected.to_dict()} == expected.to_dict()
    assert set(found) - set(expected.to_dict()) == {"seconds_per_image", "protocol", "failures"}
    assert found["num_images"] == NUM_PICTURES
    assert found["reference_bits"] is None
    assert found["protocol"]["reference_split"] == "none"
    assert found["failures"] == []


def test_a_split_against_another(splits):
    found = evaluate(splits, "test")
    assert (found["num_images"], found["protocol"]["num_reference_images"]) == (4, 12)
    assert found["failures"] == ["test/low/bad.png (not a picture PIL can read)"]
    assert len(found["reference_bits"]) == 2
    assert found["classes"]["num_classes"] == 2
    assert 0 <= found["classes"]["majority_vote"] <= 1
    assert (found["frechet"]["reference_split"], found["frechet"]["reference_count"]) == ("train", 12)
    turned = evaluate(splits, "train", reference_split="test", features="none")
    assert turned["frechet"] is None
    assert turned["protocol"]["reference_split"] == "test"


def test_a_single_file_has_no_other_split(splits, tmp_path):
    from datasets import load_dataset

    path = tmp_path / "all.parquet"
    load_dataset("imagefolder", data_dir=str(splits / "train"), split="train").to_parquet(path)
    found = evaluate(path, "test")
    assert (found["num_images"], found["reference_bits"]) == (12, None)


def test_what_the_figures_depend_on(splits):
    found = evaluate(splits, "test", batch_size=3)
    protocol = found["protocol"]
    assert all(isinstance(value, (str, int, float)) for value in protocol.values())
    assert protocol["codes_fingerprint"] == codes_fingerprint(image_tokenizer(), processor())
    assert protocol["decoder_fingerprint"] == decoder_fingerprint(image_tokenizer())
    assert (protocol["size"], protocol["grids"], protocol["codebook_sizes"]) == ("16x16", "1x1 2x2", "6 9")
    assert (protocol["split"], protocol["num_images"], protocol["class_column"]) == ("test", 4, "label")
    assert (
        protocol["preprocessing"]
        == "RGB; resized to cover and cropped at the centre (bicubic); pictures of the right size untouched"
    )
    assert (found["seconds_per_image"]["batch_size"], protocol["batch_size"]) == (3, 3)
    assert json.loads(json.dumps(found, allow_nan=False))["protocol"] == protocol


def test_all_but_the_time_is_the_same_again(splits):
    first, second = (evaluate(splits, "test") for _ in range(2))
    for document in (first, second):
        assert document.pop("seconds_per_image")["encode"] > 0
    assert first == second


def test_a_part_of_the_pictures(splits):
    found = evaluate(splits, "train", reference_split="test", max_images=3)
    assert (found["num_images"], found["protocol"]["num_reference_images"]) == (3, 3 - len(found["failures"]))
    assert found["protocol"]["choice"] == "at most 3 of a split, seed 0"
    assert evaluate(splits, "train", max_images=99)["num_images"] == 12


def test_a_picture_of_examples(tmp_path):
    for name in ("a.png", "b.png"):
        evaluate(pictures(), "train", picture=str(tmp_path / name))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (3 * 102 + 6, 20 + 8 * 102 + 6)  # eight pictures: original, one level, two levels


def test_padded_grey_pictures_are_measured_without_their_padding(tmp_path):
    from pictogram.tokenizer.config import ImageTokenizerConfig
    from pictogram.tokenizer.model import ImageTokenizer

    config = ImageTokenizerConfig(
        num_channels=1, image_size=16, strides=["image", 8], codebook_sizes=[4, 5], hidden_size=8
    )
    ImageTokenizer(config).save_pretrained(tmp_path / "model")
    size = {"height": 16, "width": 16}
    ImageTokenizerImageProcessorPil(size=size, do_pad=True, num_channels=1).save_pretrained(tmp_path / "model")
    (tmp_path / "data").mkdir()
    values = np.random.default_rng(0).integers(0, 256, (3, 12, 14), dtype=np.uint8)
    for index, picture in enumerate(values):
        Image.fromarray(picture).save(tmp_path / "data" / f"{index}.png")
    found = evaluate_image_tokenizer(str(tmp_path / "model"), str(tmp_path / "data"), "train")
    assert tuple(found["frechet"]["picture_size"]) == (12, 14)
    assert found["frechet"]["feature_dimension"] == 64
    assert found["protocol"]["region"] == "the pictures without their padding"
    assert found["protocol"]["preprocessing"].startswith("grey; padded; larger pictures shrunk whole (bicubic)")
    assert found["ssim"] is not None


@pytest.mark.parametrize("option", ["max_images", "batch_size"])
def test_numbers_below_one(option):
    with pytest.raises(InputError, match=f"{option} must be at least 1, got 0"):
        evaluate(pictures(), "train", **{option: 0})
