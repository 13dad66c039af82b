import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_chain import bundle, bundle_folder, shared_bundle, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.order import ORDERS
from pictogram.lm.text_tokenizer import TextTokenizer, train_text_tokenizer
from pictogram.pipelines.text_to_image import TextToImagePipeline

ROOT_FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "tokenizer.model"]
NEEDED = [
    *ROOT_FILES,
    "vocabulary.json",
    "image_tokenizer/config.json",
    "image_tokenizer/model.safetensors",
    "image_tokenizer/preprocessor_config.json",
]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A bundle's folder of our own, to be broken."""
    return Path(shutil.copytree(bundle_folder(), tmp_path / "bundle"))


def refusal(folder: Path) -> str:
    with pytest.raises(InputError) as error:
        Bundle.from_pretrained(folder)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize("order", ORDERS)
def test_a_loaded_bundle_draws_the_same_pictures(order: str):
    before, after = shared_bundle(order), Bundle.from_pretrained(bundle_folder(order))
    assert after.vocabulary == before.vocabulary
    assert not after.prior.training and not after.image_tokenizer.training
    words = ["red apple", ""]
    first, second = (TextToImagePipeline(b)(words, seed=5) for b in (before, after))
    assert [image.tobytes() for image in first.images] == [image.tobytes() for image in second.images]
    assert torch.equal(first.bits, second.bits)


def test_its_files_are_those_of_the_design():
    files = {str(path.relative_to(bundle_folder())) for path in bundle_folder().rglob("*") if path.is_file()}
    assert files == {*NEEDED, "generation_config.json"}


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    assert f"lacks {Path(name).name}" in refusal(folder)


def test_missing_folders_are_named(folder: Path):
    shutil.rmtree(folder / "image_tokenizer")
    assert "lacks image_tokenizer/" in refusal(folder)
    assert refusal(folder / "nowhere").endswith("is not a whole bundle: it is not a folder")
    (folder.parent / "empty").mkdir()
    assert "lacks config.json, " in refusal(folder.parent / "empty")


@pytest.mark.parametrize("name", ["model.safetensors", "image_tokenizer/model.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.7])
def test_truncated_weights_are_refused(folder: Path, name: str, share: float):
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: int(len(content) * share)])
    assert "cannot be loaded" in refusal(folder)


@pytest.mark.parametrize("name", ["config.json", "vocabulary.json", "tokenizer.model", "image_tokenizer/config.json"])
def test_garbage_is_refused(folder: Path, name: str):
    (folder / name).write_text("{ nonsense")
    refusal(folder)


def test_missing_weights_are_not_made_up(folder: Path):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights, such as model.layers.1.mlp.up_proj.weight" in refusal(folder)


def test_another_image_tokenizer_is_refused(folder: Path):
    shutil.rmtree(folder / "image_tokenizer")
    shutil.copytree(tokenizer_folder(1), folder / "image_tokenizer")
    assert "they do not belong together" in refusal(folder)


def test_another_decoder_is_refused(folder: Path):
    vocabulary = replace(shared_bundle().vocabulary, decoder_fingerprint="0" * 64)
    vocabulary.save(folder)
    assert "names decoder 000000000000..." in refusal(folder)


def test_another_text_tokenizer_is_refused(folder: Path):
    TextTokenizer(train_text_tokenizer(["abc"], 260)).save(folder / "tokenizer.model")
    assert "the text tokenizer has" in refusal(folder)


def test_a_text_tokenizer_of_the_same_size_is_refused_too(folder: Path):
    size = len(shared_bundle().vocabulary.text_range)
    other = train_text_tokenizer(["xylophone quartz jukebox wizard " * 3, "vexing sphinx puzzle fjord " * 3], size)
    assert TextTokenizer(other).vocab_size == size
    TextTokenizer(other).save(folder / "tokenizer.model")
    assert "does not belong to the tokenizer.model" in refusal(folder)


def test_a_damaged_tokenizer_json_is_refused(folder: Path):
    (folder / "tokenizer.json").write_text("{}")
    assert "tokenizer.json is damaged" in refusal(folder)


def test_parts_that_do_not_fit_are_not_saved(tmp_path):
    good = shared_bundle()
    bad = replace(good, vocabulary=replace(good.vocabulary, codes_fingerprint="1" * 64))
    with pytest.raises(InputError, match="they do not belong together"):
        bad.save_pretrained(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
    longer = replace(good, vocabulary=good.vocabulary.add_codes(1, 2))
    with pytest.raises(InputError, match="the prior has"):
        longer.save_pretrained(tmp_path / "bundle")


def test_the_grammar_is_built_once():
    assert shared_bundle().grammar is shared_bundle().grammar


def test_an_adapter_of_peft_trains_one_step():
    peft = pytest.importorskip("peft")
    model = bundle().prior
    adapter = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    trainable = {name: p for name, p in adapter.named_parameters() if p.requires_grad}
    assert trainable and all("lora_" in name for name in trainable)
    before = {name: p.detach().clone() for name, p in trainable.items()}
    ids = torch.tensor([[1, 2, 3, 4]])
    optimizer = torch.optim.AdamW(trainable.values(), lr=1e-2)
    adapter(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    assert any(not torch.equal(before[name], p) for name, p in trainable.items())
