import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pictogram.hub.errors import InputError
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    config = ImageTokenizerConfig(image_size=16, strides=["image", 8], codebook_sizes=[4, 5], hidden_size=8)
    ImageTokenizer(config).train().save_pretrained(tmp_path)
    ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16}, background=(1, 2, 3)).save_pretrained(tmp_path)
    return tmp_path


def test_model_and_processor(folder):
    loaded = load_image_tokenizer(str(folder))
    assert not loaded.model.training
    assert loaded.model.config.codebook_sizes == [4, 5]
    assert loaded.processor.background_colour == (1, 2, 3)


def test_missing_folder_and_missing_files(folder):
    with pytest.raises(InputError, match="nowhere is not an image tokenizer: it is not a folder"):
        load_image_tokenizer(folder / "nowhere")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"it lacks preprocessor_config\.json"):
        load_image_tokenizer(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"it lacks model\.safetensors, preprocessor_config\.json"):
        load_image_tokenizer(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_damaged_files_give_one_line(name, folder):
    path = folder / name
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="cannot be loaded") as raised:
        load_image_tokenizer(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("change", ["lost", "more"])
def test_weights_that_do_not_fit_are_refused_rather_than_drawn_at_random(change, folder):
    tensors = load_file(folder / "model.safetensors")
    if change == "lost":
        del tensors["codebooks.1.embedding.weight"]
    else:
        tensors["codebooks.2.embedding.weight"] = torch.zeros(3)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"does not fit its config\.json.*codebooks\.[12]\.embedding"):
        load_image_tokenizer(folder)


@pytest.mark.parametrize("settings", [{"hidden_size": 16}, {"strides": ["image", 16]}, {"codebook_sizes": [4, 5, 6]}])
def test_a_configuration_of_another_model(settings, folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    with pytest.raises(InputError) as raised:
        load_image_tokenizer(folder)
    assert "\n" not in str(raised.value)
