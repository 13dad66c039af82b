import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pictogram.hub.errors import InputError
from pictogram.hub.provenance import PROVENANCE_NAME
from pictogram.hub.repository import DownloadedRepository
from pictogram.tokenizer import loading
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.fingerprints import codes_fingerprint
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.loading import TOKENIZER_FILES, load_image_tokenizer, with_processor
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


def test_a_folder_has_its_path_for_a_name_and_no_revision(folder, monkeypatch):
    loaded = load_image_tokenizer(folder)
    assert (loaded.name, loaded.revision) == (str(folder), None)
    assert loaded.codes_fingerprint == codes_fingerprint(loaded.model, loaded.processor)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_image_tokenizer(f"~/{folder.name}").codes_fingerprint == loaded.codes_fingerprint
    with pytest.raises(InputError, match=r"a revision, 'v1', needs a name on the Hub, owner/name; got the folder"):
        load_image_tokenizer(folder, "v1")


def test_a_name_on_the_hub(folder, tmp_path, monkeypatch):
    asked = []

    def download(repo_id, **options):
        asked.append((repo_id, options))
        return DownloadedRepository(folder, "1" * 40)

    monkeypatch.setattr(loading, "download_folder", download)
    loaded = load_image_tokenizer("owner/name", "v1", token="hf_x")
    assert (loaded.name, loaded.revision) == ("owner/name", "1" * 40)
    files = (*TOKENIZER_FILES, PROVENANCE_NAME)
    options = {"repo_type": "model", "revision": "v1", "allow_patterns": files, "token": "hf_x"}
    assert asked == [("owner/name", options)]
    for path in ("name", "./owner/name", "a/b/c", "~/name", Path("owner/name")):
        with pytest.raises(InputError, match="is not an image tokenizer: it is not a folder"):
            load_image_tokenizer(path)
    assert len(asked) == 1
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"owner/name is not an image tokenizer: it lacks config\.json"):
        load_image_tokenizer("owner/name")


def test_a_folder_wins_over_a_name(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "download_folder", lambda *_, **__: pytest.fail("the Hub was asked"))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / "owner" / "name")
    assert load_image_tokenizer("owner/name").revision is None


def test_offline_and_not_in_the_cache():
    with pytest.raises(InputError, match="no folder of that name is here, and model owner/name is not in the cache"):
        load_image_tokenizer("owner/name")


def test_a_tokenizer_and_the_processor_beside_it(folder):
    loaded = load_image_tokenizer(folder)
    assert with_processor(loaded) is loaded
    model = ImageTokenizer.from_pretrained(folder).eval()
    assert with_processor(model).codes_fingerprint == loaded.codes_fingerprint
    other = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16}, background=(9, 9, 9))
    for tokenizer in (loaded, model):
        assert with_processor(tokenizer, other).processor is other
    with pytest.raises(InputError, match="pass processor="):
        with_processor(ImageTokenizer(model.config.__class__(image_size=16, strides=[8], codebook_sizes=[4])))
