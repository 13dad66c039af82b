"""What is sent; that it arrives is in tests/test_tokenizer_codes_push.py."""

import shutil
from pathlib import Path

import pytest
from tiny_chain import tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.hub.files import write_json
from pictogram.tokenizer import tokenizer_push
from pictogram.tokenizer.loading import TOKENIZER_FILES, load_image_tokenizer
from pictogram.tokenizer.tokenizer_push import push_image_tokenizer


@pytest.fixture
def sent(monkeypatch) -> dict[str, bytes]:
    """What the last push would have sent."""
    files: dict[str, bytes] = {}

    def push_folder(folder, repo_id, *, repo_type, allow_patterns, **options):
        assert (repo_id, repo_type, options.pop("token")) == ("owner/name", "model", "hf_x")
        found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert set(found) <= set(allow_patterns)
        files.clear()
        files.update(found)

    monkeypatch.setattr(tokenizer_push, "push_folder", push_folder)
    return files


@pytest.fixture
def folder(tmp_path) -> Path:
    return Path(shutil.copytree(tokenizer_folder(), tmp_path / "tokenizer"))


def push(tokenizer) -> None:
    push_image_tokenizer(tokenizer, "owner/name", token="hf_x")


def test_a_training_s_folder(folder, sent):
    write_json(folder / "complete.json", {"train": {"num_images": 16, "psnr": [10.0, 12.0]}})
    for name in ("run.json", "metrics.jsonl", "reconstructions-00000010.png", "reconstructions-00000009.png"):
        (folder / name).write_text(name)
    before = sorted(folder.iterdir())
    push(folder)
    assert set(sent) == {*TOKENIZER_FILES, "README.md", "reconstructions.png"}
    assert sent["reconstructions.png"] == b"reconstructions-00000010.png"
    assert sent["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert b"On 16 training pictures." in sent["README.md"] and b"](reconstructions.png)" in sent["README.md"]
    assert sorted(folder.iterdir()) == before, "nothing is written into the folder"


def test_a_picture_and_a_card_made_by_hand_win(folder, sent):
    (folder / "reconstructions-00000010.png").write_text("drawn")
    (folder / "reconstructions.png").write_text("mine")
    (folder / "README.md").write_text("my card")
    push(str(folder))
    assert (sent["reconstructions.png"], sent["README.md"]) == (b"mine", b"my card")


def test_a_tokenizer_at_hand(folder, sent):
    push(load_image_tokenizer(folder))
    assert set(sent) == {*TOKENIZER_FILES, "README.md"}
    assert str(folder).encode() not in b"".join(sent.values())
    with_files = load_image_tokenizer(folder)
    (folder / "config.json").write_bytes(sent["config.json"])
    (folder / "model.safetensors").write_bytes(sent["model.safetensors"])
    assert load_image_tokenizer(folder).codes_fingerprint == with_files.codes_fingerprint


def test_what_does_not_load_stays_here(folder, sent):
    (folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be loaded"):
        push(folder)
    with pytest.raises(InputError, match="owner/other is not an image tokenizer: it is not a folder"):
        push("owner/other")
    assert not sent


def test_names_and_tokens_are_checked_before_any_work(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match="'name' cannot be a repository"):
        push_image_tokenizer("nowhere", "name")
    with pytest.raises(InputError, match="a push needs the token"):
        push_image_tokenizer("nowhere", "owner/name")
