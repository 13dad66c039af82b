import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from tiny_chain import image_tokenizer, pictures, processor, tokenizer_folder
from tiny_model import make
from tiny_pictures import noise_in_two_classes

from pictogram.hub.errors import InputError
from pictogram.pipelines.symbol_emergence import (
    BALANCED,
    FEATURES,
    KMEANS,
    LATENTS,
    OWN,
    PIXELS,
    EmergenceEvaluation,
    evaluate_emergence,
)
from pictogram.tokenizer.pixel_dataset import load_pixels


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Sixty pictures of noise to test and sixty to learn from, bright and dark."""
    folder = noise_in_two_classes(tmp_path_factory.mktemp("data"))
    shutil.copytree(folder / "test", folder / "train")
    return str(folder)


def asked(data: str, **options) -> EmergenceEvaluation:
    models = [str(tokenizer_folder(seed)) for seed in (0, 1)]
    return replace(EmergenceEvaluation(models, data, codebook_sizes=[2, 4], num_seeds=2), **options)


def test_what_is_obvious_emerges(data, tmp_path):
    report = evaluate_emergence(asked(data), tmp_path)
    assert json.loads((tmp_path / "emergence.json").read_text()) == json.loads(json.dumps(report))
    methods = [point["method"] for point in report["points"]]
    assert {method: methods.count(method) for method in dict.fromkeys(methods)} == {
        OWN: 2,
        **{f"{method} {what}": 8 for what in (LATENTS, FEATURES) for method in (KMEANS, BALANCED)},
        **{f"{method} {PIXELS}": 4 for method in (KMEANS, BALANCED)},
    }


@pytest.mark.parametrize("method", [KMEANS, BALANCED])
def test_clusters_of_pixels_find_bright_and_dark(data, method):
    report = evaluate_emergence(asked(data))
    name = f"{method} {PIXELS}"
    pixels = next(entry for entry in report["summary"] if entry["method"] == name and entry["codebook_size"] == 2)
    means = {name: round(value, 6) for name, value in pixels["mean"].items() if name != "held_out_information"}
    assert means == {
        "bits": 1.0,
        "information": 1.0,
        "majority_vote": 1.0,
        "nmi": 1.0,
        "ari": 1.0,
        "accuracy": 1.0,
    }
    assert 0.85 < pixels["mean"]["held_out_information"] < 1
    assert pixels["spread"]["bits"] == pytest.approx(0)
    assert report["class_entropy"] == 1
    assert report["failures"] == [f"{split}/dark/bad.png (not a picture PIL can read)" for split in ("train", "test")]


def test_own_codes_are_those_of_encode(data):
    report = evaluate_emergence(asked(data, models=[str(tokenizer_folder())]))
    dataset = load_pixels(data, "test", processor())[0]
    codes = image_tokenizer().encode(dataset.pixels(range(60)))[0].flatten()
    (own,) = [point for point in report["points"] if point["method"] == OWN]
    shares = torch.bincount(codes).double() / 60
    assert own["bits"] == pytest.approx(float(torch.special.entr(shares).sum()) / torch.tensor(2.0).log().item())
    assert own["codebook_size"] == 6 and own["model"] == str(tokenizer_folder())
    (entry,) = [entry for entry in report["summary"] if entry["method"] == OWN]
    assert entry["num_runs"] == 1 and set(entry["spread"].values()) == {None}


def test_figures_repeat_and_follow_the_seed(data):
    first = evaluate_emergence(asked(data, max_images=30))
    assert evaluate_emergence(asked(data, max_images=30)) == first
    assert evaluate_emergence(asked(data, max_images=30, seed=1))["points"] != first["points"]
    assert first["protocol"]["num_images"] == 29  # and the file that is no picture


def test_what_cannot_be_compared_is_refused(data, tmp_path):
    with pytest.raises(InputError, match="no class labels"):
        evaluate_emergence(asked(str(pictures())))
    with pytest.raises(InputError, match="must differ, got split train for both"):
        evaluate_emergence(asked(data, split="train"))
    make(strides=[8, 4]).save_pretrained(tmp_path / "grids")
    processor().save_pretrained(tmp_path / "grids")
    with pytest.raises(InputError, match="has no whole-image code"):
        evaluate_emergence(asked(data, models=[str(tmp_path / "grids")]))
    with pytest.raises(InputError, match="at least 2, got"):
        asked(data, codebook_sizes=[1])
    with pytest.raises(InputError, match="num_seeds must be at least 1"):
        asked(data, num_seeds=0)
    other = tmp_path / "other"
    for split, name in (("train", "bright"), ("train", "dark"), ("test", "bright"), ("test", "grey")):
        (other / split / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (16, 16)).save(other / split / name / "a.png")
    with pytest.raises(InputError, match="both splits must have the same classes"):
        evaluate_emergence(asked(str(other)))
