import shutil
from pathlib import Path

import pytest
from tiny_chain import codes_folder, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.hub.repository import DownloadedRepository
from pictogram.tokenizer import codes_location
from pictogram.tokenizer.codes_location import check_fingerprint, find_codes
from pictogram.tokenizer.codes_manifest import MANIFEST_NAME
from pictogram.tokenizer.loading import load_image_tokenizer

COMMIT = "1" * 40


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache that gets every file that is asked for, once it is asked for, from `source`."""
    source, cache, asked = Path(shutil.copytree(codes_folder(), tmp_path / "there")), tmp_path / "cache", []

    def download(repo_id, *, repo_type, revision=None, allow_patterns, token):
        assert (repo_id, repo_type, token) == ("owner/name", "dataset", None)
        asked.append((revision, *allow_patterns))
        for name in allow_patterns:
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            if (source / name).exists():
                shutil.copy(source / name, cache / name)
        return DownloadedRepository(cache, COMMIT)

    monkeypatch.setattr(codes_location, "download_folder", download)
    return source, asked


def test_a_folder(tmp_path, monkeypatch):
    location = find_codes(codes_folder())
    assert (location.name, location.folder, location.revision) == (str(codes_folder()), codes_folder(), None)
    assert [path.name for path in location.shards("train")] == [f"train-0000{i}-of-00002.parquet" for i in range(2)]
    opened = location.open_shard("train", 1)
    with opened.file:
        assert opened.footer.rows == 6
    monkeypatch.setenv("HOME", str(codes_folder().parent))
    assert find_codes(f"~/{codes_folder().name}").manifest == location.manifest


def test_a_folder_wins_over_a_name(tmp_path, monkeypatch, hub):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(codes_folder(), tmp_path / "owner" / "name")
    assert find_codes("owner/name").revision is None
    assert hub[1] == []


@pytest.mark.parametrize("path", ["name", "./owner/name", "a/b/c", "~/name", Path("owner/name")])
def test_paths_are_never_asked_for_on_the_hub(path, hub):
    with pytest.raises(InputError, match="does not exist; expected a folder of codes, or owner/name of a dataset"):
        find_codes(path)
    assert hub[1] == []


def test_the_manifest_comes_alone_and_the_shards_of_a_split_after_it(hub):
    _, asked = hub
    location = find_codes("owner/name", "v1")
    assert (location.name, location.revision) == ("owner/name", COMMIT)
    assert asked == [("v1", MANIFEST_NAME)]
    shards = location.shards("train")
    assert asked[1:] == [(COMMIT, *(f"data/{shard.name}" for shard in shards))]


def test_a_repository_without_manifest(hub):
    source, _ = hub
    (source / MANIFEST_NAME).unlink()
    with pytest.raises(InputError, match=f"owner/name has no {MANIFEST_NAME}: not a dataset of codes, or its upload"):
        find_codes("owner/name")


def test_an_upload_that_has_not_finished(hub):
    source, _ = hub
    (source / "data" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(InputError, match=r"owner/name lacks data/train-00001-of-00002.parquet.* has not finished"):
        find_codes("owner/name").shards("train")


def test_shards_that_are_not_what_the_manifest_says(tmp_path):
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    first, second = sorted((folder / "data").iterdir())
    whole = second.read_bytes()
    second.write_bytes(first.read_bytes())
    with pytest.raises(InputError, match="holds 20 rows, its manifest says 16"):
        find_codes(folder).shards("train")
    second.write_bytes(whole[:300])
    for read in (lambda: find_codes(folder).shards("train"), lambda: find_codes(folder).open_shard("train", 1)):
        with pytest.raises(InputError, match="is damaged"):
            read()


def test_shards_of_another_tokenizer(tmp_path):
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    text = (folder / MANIFEST_NAME).read_text()
    (folder / MANIFEST_NAME).write_text(text.replace(find_codes(folder).manifest.codes_fingerprint, "0" * 64))
    location = find_codes(folder)
    for read in (location.shards, lambda split: location.open_shard(split, 0)):
        with pytest.raises(InputError, match=r"parquet holds codes of image tokenizer .*, expected 0000"):
            read("train")


def test_fingerprints():
    location = find_codes(codes_folder())
    location.check_fingerprint(load_image_tokenizer(tokenizer_folder()).codes_fingerprint)
    with pytest.raises(InputError, match=r"holds codes of image tokenizer .* make the codes again"):
        location.check_fingerprint(load_image_tokenizer(tokenizer_folder(1)).codes_fingerprint)
    with pytest.raises(InputError, match=r"here holds codes of image tokenizer aaaaaaaaaaaa\.\.\., expected bbb"):
        check_fingerprint("here", "a" * 64, "b" * 64)


def test_splits_and_revisions():
    with pytest.raises(InputError, match="has no split 'test'; it has: train"):
        find_codes(codes_folder()).shards("test")
    with pytest.raises(InputError, match="a revision, 'v1', needs a name on the Hub, owner/name; got the folder"):
        find_codes(codes_folder(), "v1")
