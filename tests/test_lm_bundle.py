import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_chain import bundle, bundle_folder, shared_bundle, tokenizer_folder
from tiny_evaluations import provenance

from pictogram import load_image_tokenizer
from pictogram.hub.errors import InputError
from pictogram.hub.provenance import Provenance, history
from pictogram.hub.repository import DownloadedRepository
from pictogram.lm import bundle as bundle_module
from pictogram.lm.bundle import BUNDLE_PATTERNS, Bundle, bundle_files
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
    assert files == {*NEEDED, "generation_config.json"} == {*bundle_files(bundle_folder())}
    assert files <= {*BUNDLE_PATTERNS}


def test_a_folder_has_its_path_for_a_name_and_no_revision(folder: Path, monkeypatch):
    loaded = Bundle.from_pretrained(folder)
    assert (loaded.name, loaded.revision) == (str(folder), None)
    assert (shared_bundle().name, shared_bundle().revision) == ("", None)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert Bundle.from_pretrained("~/bundle").name == "~/bundle"
    with pytest.raises(InputError, match=r"a revision, 'v1', needs a name on the Hub, owner/name; got the folder"):
        Bundle.from_pretrained(folder, "v1")


def test_a_name_on_the_hub(folder: Path, monkeypatch):
    asked = []

    def download(repo_id, **options):
        asked.append((repo_id, options))
        return DownloadedRepository(folder, "1" * 40)

    monkeypatch.setattr(bundle_module, "download_folder", download)
    loaded = Bundle.from_pretrained("owner/name", "v1", token="hf_x")
    assert (loaded.name, loaded.revision) == ("owner/name", "1" * 40)
    first = {"repo_type": "model", "revision": "v1", "allow_patterns": ["vocabulary.json"], "token": "hf_x"}
    assert asked == [
        ("owner/name", first),
        ("owner/name", first | {"revision": "1" * 40, "allow_patterns": BUNDLE_PATTERNS}),
    ]
    for path in ("name", "./owner/name", "a/b/c", "~/name", Path("owner/name")):
        with pytest.raises(InputError, match="it is neither a folder nor a name on the Hub, owner/name"):
            Bundle.from_pretrained(path)
        with pytest.raises(InputError, match="it is neither a folder nor a name on the Hub, owner/name"):
            Bundle.from_pretrained(path, "v1")
    assert len(asked) == 2
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"owner/name is not a whole bundle: it lacks config\.json$"):
        Bundle.from_pretrained("owner/name")
    (folder / "vocabulary.json").unlink()
    with pytest.raises(InputError, match=r"owner/name is not a whole bundle: it lacks vocabulary\.json$"):
        Bundle.from_pretrained("owner/name")
    assert len(asked) == 5, "nothing else is asked for where there is no vocabulary"


def test_a_folder_wins_over_a_name(folder: Path, monkeypatch):
    monkeypatch.setattr(bundle_module, "download_folder", lambda *_, **__: pytest.fail("the Hub was asked"))
    monkeypatch.chdir(folder.parent)
    shutil.copytree(folder, folder.parent / "owner" / "name")
    assert Bundle.from_pretrained("owner/name").revision is None


def shard(folder: Path) -> list[str]:
    """Puts the weights into several files; returns their names."""
    prior = Bundle.from_pretrained(folder).prior
    (folder / "model.safetensors").unlink()
    prior.save_pretrained(folder, max_shard_size="30KB")
    return sorted(path.name for path in folder.glob("model-*.safetensors"))


def test_weights_in_several_files(folder: Path):
    before = Bundle.from_pretrained(folder).prior.state_dict()
    shards = shard(folder)
    assert len(shards) > 1
    after = Bundle.from_pretrained(folder).prior.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before.keys() | after.keys())
    assert {*bundle_files(folder)} == {*NEEDED, "generation_config.json", "model.safetensors.index.json", *shards} - {
        "model.safetensors"
    }
    (folder / shards[1]).unlink()
    assert refusal(folder).endswith(f"it lacks {shards[1]}")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weight_map": []}'])
def test_a_damaged_index_is_refused(folder: Path, content: str):
    shard(folder)
    (folder / "model.safetensors.index.json").write_text(content)
    refusal(folder)


@pytest.mark.parametrize("name", ["../model-1.safetensors", "model-../../x.safetensors", "/etc/passwd", "model.bin", 3])
def test_an_index_cannot_lead_out_of_the_folder(folder: Path, name: object):
    shard(folder)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["lm_head.weight"] = name
    index.write_text(json.dumps(content))
    assert "to model-*.safetensors" in refusal(folder)


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    assert f"lacks {name}" in refusal(folder)


def test_missing_folders_are_named(folder: Path):
    shutil.rmtree(folder / "image_tokenizer")
    assert "lacks image_tokenizer/config.json, image_tokenizer/" in refusal(folder)
    assert "nowhere is not a whole bundle: it is neither a folder nor a name on the Hub" in refusal(folder / "nowhere")
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


def test_weights_that_the_config_has_no_use_for_are_refused(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    config |= {"num_hidden_layers": config["num_hidden_layers"] - 1, "layer_types": config["layer_types"][:-1]}
    (folder / "config.json").write_text(json.dumps(config))
    assert "has weights that its config.json has no use for, such as model.layers.1." in refusal(folder)


def test_stretched_positions_are_another_bundle(folder: Path):
    plain = Bundle.from_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"] |= {"rope_type": "linear", "factor": 8.0}
    (folder / "config.json").write_text(json.dumps(config))
    assert Bundle.from_pretrained(folder).fingerprint != plain.fingerprint


def test_one_is_not_taken_for_the_other(folder: Path):
    assert "; it is an image tokenizer, which train-lm makes a bundle of" in refusal(folder / "image_tokenizer")
    with pytest.raises(InputError, match=r"; it is a bundle, whose image tokenizer is .*/image_tokenizer"):
        load_image_tokenizer(folder)


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


def with_provenance(folder: Path) -> tuple[Provenance, Provenance]:
    """How the bundle in a folder and its image tokenizer came to be, which is written down there."""
    loaded = Bundle.from_pretrained(folder)
    its = provenance(load_image_tokenizer(folder / "image_tokenizer"))
    prints = {"bundle": loaded.fingerprint, "codes": its.fingerprints["codes"]}
    entry = {"name": "owner/photos", "revision": "ab", "provenance": its.to_dict()}
    made = replace(its, stage="prior", fingerprints=prints, image_tokenizer=entry)
    made.save(folder)
    return made, its


def test_its_provenance_goes_along_unless_it_is_another_model_s(folder, tmp_path):
    made, _ = with_provenance(folder)
    loaded = Bundle.from_pretrained(folder)
    assert loaded.checked_provenance() == made
    loaded.save_pretrained(tmp_path / "again")
    assert Provenance.load(tmp_path / "again") == made
    prior = copy.deepcopy(loaded.prior)
    with torch.no_grad():
        next(prior.parameters()).view(-1)[0] += 1
    changed = replace(loaded, prior=prior)
    with pytest.raises(InputError, match="another model's: its fingerprint of bundle differs; delete it if"):
        changed.checked_provenance()
    changed.save_pretrained(tmp_path / "again")
    assert Provenance.load(tmp_path / "again") is None


def test_an_image_tokenizer_in_a_bundle_has_the_provenance_that_the_bundle_holds(folder, monkeypatch):
    _, its = with_provenance(folder)
    assert load_image_tokenizer(folder / "image_tokenizer").checked_provenance() == its
    monkeypatch.chdir(folder / "image_tokenizer")
    assert load_image_tokenizer(".").history() == history(its)
    replace(its, stage="own").save(folder / "image_tokenizer")
    assert load_image_tokenizer(folder / "image_tokenizer").history()[0]["stage"] == "own"
