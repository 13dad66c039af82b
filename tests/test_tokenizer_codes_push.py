"""Image tokenizers and codes to the Hub and back, by its own client, against a loopback server."""

import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer
from PIL import Image
from tiny_chain import codes_folder, pictures, tokenizer_folder
from tiny_hub import ERRORS, Client, files_of

from pictogram.hub.errors import InputError
from pictogram.tokenizer import codes_push
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.codes_location import find_codes
from pictogram.tokenizer.codes_manifest import MANIFEST_NAME, CodesManifest
from pictogram.tokenizer.codes_push import push_codes
from pictogram.tokenizer.codes_writer import write_codes
from pictogram.tokenizer.fingerprints import decoder_fingerprint
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.loading import load_image_tokenizer

PUSH = """
from pictogram import push_codes, push_image_tokenizer

given = given["folders"]
answer["tokenizer"] = push_image_tokenizer(given["tokenizer"], "alice/tokenizer", tag="v1").commit
answer["other"] = push_image_tokenizer(given["other"], "alice/other").commit
answer["codes"] = push_codes(given["codes"], "alice/codes", tokenizer="alice/tokenizer", tag="v1").commit
answer["fewer"] = push_codes(given["fewer"], "alice/codes", given["tokenizer"], message="Fewer").commit
for name, pushed in {
    "proposed tokenizer": push_image_tokenizer(given["other"], "alice/tokenizer", create_pr=True),
    "proposed codes": push_codes(given["codes"], "alice/codes", create_pr=True),
}.items():
    answer[name] = [pushed.commit, pushed.url, pushed.revision]
answer["secret tokenizer"] = push_image_tokenizer(given["tokenizer"], "alice/secret-tokenizer", private=True).commit

import contextlib, io
from pictogram import __main__ as cli

out, err = io.StringIO(), io.StringIO()
sys.argv = ["pictogram", "push", given["codes"], "--repo", "alice/secret", "--private", "--json"]
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
    cli.main()
answer["command"] = [out.getvalue(), err.getvalue()]
"""

READ = (
    ERRORS
    + """
import os, urllib.request
from transformers import AutoModel
from pictogram import ImageTokenizer, load_codes, load_image_tokenizer
from pictogram.tokenizer.fingerprints import decoder_fingerprint

other = load_image_tokenizer("alice/other")
answer["mismatch"] = error_of(load_codes, "alice/codes", tokenizer=other)
answer["streamed mismatch"] = error_of(load_codes, "alice/codes", codes_fingerprint="0" * 64, streaming=True)
urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "/health?mismatches-are-over").read()

loaded = load_image_tokenizer("alice/tokenizer", revision="v1")
answer["tokenizer"] = [loaded.name, loaded.revision, loaded.codes_fingerprint, decoder_fingerprint(loaded.model)]
model = ImageTokenizer.from_pretrained("alice/tokenizer", revision="v1")
answer["transformers"] = [decoder_fingerprint(model), decoder_fingerprint(AutoModel.from_pretrained("alice/tokenizer"))]

def read(**options):
    codes = load_codes("alice/codes", **options)
    return [codes.revision, codes.keys, [level.tolist() for level in codes.codes(range(len(codes)))]]

codes = load_codes("alice/codes", tokenizer=loaded, revision="v1")
answer["by tag"] = read(revision="v1")
answer["by commit"] = read(revision=given["commit"])
answer["newest"] = read()
answer["manifest"] = [codes.manifest.tokenizer_id, codes.manifest.tokenizer_revision, codes.manifest.codes_fingerprint]
answer["picture"] = codes.decode([3], loaded)[0].tobytes().hex()
proposed = load_image_tokenizer("alice/tokenizer", revision="refs/pr/1")
answer["proposed"] = [proposed.revision, proposed.codes_fingerprint, *read(revision="refs/pr/1")]

stream = load_codes("alice/codes", tokenizer=loaded, revision="v1", streaming=True)
answer["stream"] = [[row.key, row.captions, [level.tolist() for level in row.codes]] for row in stream]
answer["batches"] = [len(batch.keys) for batch in stream.batches(6)]

for example in given["cards"]:
    exec(compile(example, "card", "exec"), {})
guide = {}
for example in given["guide"]:
    exec(compile(example, "docs/codes.md", "exec"), guide)
answer["guide"] = [guide["codes"].revision, len(guide["pictures"]), len(guide["batch"].keys)]

token = os.environ.pop("HF_TOKEN")
answer["errors"] = {
    "private": error_of(load_codes, "alice/secret"),
    "private tokenizer": error_of(load_image_tokenizer, "alice/secret-tokenizer"),
    "wrong token": error_of(load_codes, "alice/secret", token="hf_wrong"),
    "missing": error_of(load_codes, "alice/nothing"),
    "missing tokenizer": error_of(load_image_tokenizer, "alice/nothing"),
    "revision": error_of(load_codes, "alice/codes", revision="v9"),
    "commit": error_of(load_codes, "alice/codes", revision="0" * 40),
    "tokenizer's revision": error_of(load_image_tokenizer, "alice/tokenizer", "v9"),
    "split": error_of(load_codes, "alice/codes", "test"),
}
streamed = load_codes("alice/secret", streaming=True, token=token)
answer["private"] = {
    "tokenizer": load_image_tokenizer("alice/secret-tokenizer", token=token).codes_fingerprint,
    "codes": load_codes("alice/secret", token=token).keys,
    "streamed": [row.key for row in streamed],
    "spelled": repr(streamed),
}
os.environ["HF_TOKEN"] = token
answer["logged in"] = len(load_codes("alice/secret"))
"""
)

PLAIN = """
import sys
from datasets import load_dataset

rows = load_dataset("alice/codes", split="train", revision="v1")
answer["columns"] = rows.column_names
answer["rows"] = [[row["key"], row["codes_0"], row["codes_1"]] for row in rows]
answer["streamed"] = [row["key"] for row in load_dataset("alice/codes", split="train", streaming=True)]
answer["splits"] = list(load_dataset("alice/codes"))
answer["pictogram"] = "pictogram" in sys.modules
"""

OFFLINE = (
    ERRORS
    + """
from pictogram import load_codes, load_image_tokenizer

loaded = load_image_tokenizer("alice/tokenizer", "v1")
answer["tokenizer"] = loaded.revision
codes = load_codes("alice/codes", tokenizer=loaded, revision="v1")
answer["codes"] = [codes.revision, [level.tolist() for level in codes.codes(range(16))]]
answer["errors"] = [
    error_of(load_codes, "alice/nothing"),
    error_of(load_image_tokenizer, "alice/codes"),
    error_of(list, load_codes("alice/codes", streaming=True)),
]
"""
)


@dataclass(frozen=True)
class Chain:
    """What the processes found, and the server they talked to."""

    server: HubServer
    pushed: dict[str, Any]
    read: dict[str, Any]
    client: Client


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["lfs", "xet"])
def chain(request, tmp_path_factory):
    """Pushed by one process and read by another, which shares nothing with it."""
    home = tmp_path_factory.mktemp("hub")
    (home / "png").mkdir()
    with HubServer() as server:
        pusher, reader = (Client(server, home / name, xet=request.param) for name in ("pusher", "reader"))
        folders = {"tokenizer": tokenizer_folder(), "other": tokenizer_folder(1), "codes": littered(home)}
        folders["fewer"] = fewer(home)
        pushed = pusher.run(PUSH, folders={name: str(folder) for name, folder in folders.items()})
        reader.home.mkdir()
        Image.new("RGB", (20, 20)).save(reader.home / "picture.png")
        shutil.copytree(tokenizer_folder(), reader.home / "image-tokenizer")
        shutil.copytree(pictures(), reader.home / "photos")
        cards = [files_of(server, name, "v1")["README.md"].decode() for name in ("model:alice/tokenizer", CODES)]
        examples = [example for card in cards for example in python_in(card)]
        guide = [example.replace("owner/", "alice/") for example in python_in(GUIDE.read_text(encoding="utf-8"))]
        read = reader.run(READ, commit=pushed["codes"], cards=examples, guide=guide)
        yield Chain(server, pushed, read, reader)
        assert not server.errors


CODES = "dataset:alice/codes"
GUIDE = Path(__file__).parents[1] / "docs" / "codes.md"


def python_in(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def littered(home: Path) -> Path:
    """The tiny codes among files that nobody wants to see."""
    folder = Path(shutil.copytree(codes_folder(), home / "codes"))
    (folder / ".pictogram").mkdir()
    for name in (".pictogram/worker", ".hidden", "notes.txt", "data/.train.tmp", "data/notes.txt"):
        (folder / name).write_text("litter")
    return folder


def fewer(home: Path) -> Path:
    """The first 8 of the tiny codes, in one file."""
    loaded = load_image_tokenizer(tokenizer_folder())
    source = load_image_source(str(pictures())).select(range(8))
    write_codes(source, loaded.model, loaded.processor, home / "fewer", rows_per_shard=8)
    return home / "fewer"


def all_codes() -> list[Any]:
    dataset = load_codes(codes_folder())
    return [level.tolist() for level in dataset.codes(range(16))]


def test_nothing_but_the_intended_files_is_on_the_server(chain):
    tokenizer = files_of(chain.server, "model:alice/tokenizer")
    assert set(tokenizer) == {
        ".gitattributes", "README.md", "config.json", "model.safetensors", "preprocessor_config.json"
    }  # fmt: skip
    shards = {f"data/train-0000{index}-of-00002.parquet" for index in range(2)}
    common = {".gitattributes", "README.md", "pictogram.json", "examples.png"}  # the first is the server's own
    codes = files_of(chain.server, CODES, "v1")
    assert set(codes) == common | shards
    for name in shards:
        assert codes[name] == (codes_folder() / name).read_bytes()
    assert Image.open(io.BytesIO(codes["examples.png"])).format == "PNG"
    for content in (*tokenizer.values(), *codes.values()):
        assert str(codes_folder().parent).encode() not in content, "paths of this machine stay here"


def test_shards_of_an_earlier_push_are_gone(chain):
    there = set(files_of(chain.server, CODES))
    assert {name for name in there if name.startswith("data/")} == {"data/train-00000-of-00001.parquet"}
    assert chain.read["newest"][0] == chain.pushed["fewer"]
    assert chain.read["newest"][2][1] == all_codes()[1][:8]


def test_tokenizers_come_back_by_name_and_tag(chain):
    here = load_image_tokenizer(tokenizer_folder())
    fingerprints = [here.codes_fingerprint, decoder_fingerprint(here.model)]
    assert chain.read["tokenizer"] == ["alice/tokenizer", chain.pushed["tokenizer"], *fingerprints]
    assert chain.read["transformers"] == [fingerprints[1]] * 2


def test_codes_come_back_by_name_tag_and_commit(chain):
    dataset = load_codes(codes_folder())
    for way in ("by tag", "by commit"):
        assert chain.read[way] == [chain.pushed["codes"], dataset.keys, all_codes()]
    picture = dataset.decode([3], load_image_tokenizer(tokenizer_folder()))[0]
    assert chain.read["picture"] == picture.tobytes().hex()


def test_the_manifest_names_the_tokenizer_on_the_hub(chain):
    fingerprint = load_codes(codes_folder()).manifest.codes_fingerprint
    assert chain.read["manifest"] == ["alice/tokenizer", chain.pushed["tokenizer"], fingerprint]
    secret = json.loads(files_of(chain.server, "dataset:alice/secret")[MANIFEST_NAME])
    assert (secret["tokenizer_id"], secret["tokenizer_revision"]) == (None, None)


def test_the_command_prints_one_document_and_no_bars(chain):
    printed, noise = chain.pushed["command"]
    head = chain.server.store.repos["dataset:alice/secret"]["branches"]["main"]
    url = f"{chain.server.endpoint}/datasets/alice/secret"
    found = {"repo_id": "alice/secret", "repo_type": "dataset", "commit": head, "url": url, "revision": "main"}
    assert json.loads(printed) == {"pushed": "codes"} | found
    assert noise == ""


def test_streams_give_the_same_rows(chain):
    dataset, codes = load_codes(codes_folder()), all_codes()
    assert chain.read["stream"] == [
        [dataset.keys[row], dataset.captions(row), [level[row] for level in codes]] for row in range(16)
    ]
    assert chain.read["batches"] == [6, 6, 4]


def test_another_tokenizer_is_refused_before_any_shard_comes(chain):
    for name in ("mismatch", "streamed mismatch"):
        assert chain.read[name].startswith("alice/codes holds codes of image tokenizer")
    paths = [request["path"] for request in chain.server.requests]
    start = next(place for place, path in enumerate(paths) if "/alice/other/resolve/" in path)
    until = paths.index("/health?mismatches-are-over")
    assert any(MANIFEST_NAME in path for path in paths[start:until])
    assert not [path for path in paths[start:until] if "train-0" in path]


def test_mistakes_are_one_line_that_says_what_to_do(chain):
    errors = chain.read["errors"]
    for name, words in {
        "private": "there is no dataset alice/secret on the Hub, or it is private: check the name, and log in",
        "private tokenizer": "there is no model alice/secret-tokenizer on the Hub, or it is private: check the name",
        "wrong token": "Invalid credentials",
        "missing": "no folder of that name is here, and there is no dataset alice/nothing on the Hub",
        "missing tokenizer": "there is no model alice/nothing on the Hub",
        "revision": "dataset alice/codes has no revision 'v9': expected a branch, a tag or a commit",
        "commit": "dataset alice/codes has no revision '0000",
        "tokenizer's revision": "model alice/tokenizer has no revision 'v9'",
        "split": "alice/codes has no split 'test'; it has: train",
    }.items():
        assert words in errors[name] and "\n" not in errors[name], name


def test_pull_requests_are_read_by_their_revision(chain):
    for kind, name, address in (("model", "tokenizer", ""), ("dataset", "codes", "datasets/")):
        commit, url, revision = chain.pushed[f"proposed {name}"]
        stored = chain.server.store.repos[f"{kind}:alice/{name}"]
        assert (commit, revision) == (stored["branches"]["refs/pr/1"], "refs/pr/1")
        assert url == f"{chain.server.endpoint}/{address}alice/{name}/discussions/1"
    assert chain.server.store.repos[CODES]["branches"]["main"] == chain.pushed["fewer"], "as it was"
    other, dataset = load_image_tokenizer(tokenizer_folder(1)), load_codes(codes_folder())
    assert chain.read["proposed"] == [
        chain.pushed["proposed tokenizer"][0], other.codes_fingerprint,
        chain.pushed["proposed codes"][0], dataset.keys, all_codes(),
    ]  # fmt: skip
    shards = {name for name in files_of(chain.server, CODES, "refs/pr/1") if name.startswith("data/")}
    assert shards == {f"data/train-0000{index}-of-00002.parquet" for index in range(2)}


def test_a_token_opens_what_is_private(chain):
    here, keys = load_image_tokenizer(tokenizer_folder()), load_codes(codes_folder()).keys
    private = chain.read["private"]
    assert (private["tokenizer"], private["codes"]) == (here.codes_fingerprint, keys)
    assert private["streamed"] == keys and chain.read["logged in"] == 16
    assert "hf_alice" not in private["spelled"], "a token is not for logs"


def test_the_guide_s_examples_run(chain):
    assert chain.read["guide"] == [chain.pushed["codes"], 3, 8]  # the stream names no revision


def test_datasets_alone_opens_it(chain, tmp_path):
    answer = Client(chain.server, tmp_path / "plain", xet=chain.client.xet).run(PLAIN, token=None)
    assert not answer["pictogram"]
    assert answer["columns"] == ["key", "view", "codes_0", "codes_1", "height", "width", "caption"]
    dataset = load_codes(codes_folder()).dataset
    assert answer["rows"] == [[row["key"], row["codes_0"], row["codes_1"]] for row in dataset.to_list()]
    assert answer["streamed"] == dataset["key"][:8]
    assert answer["splits"] == ["train"]


def test_offline_from_the_cache(chain):
    answer = chain.client.run(OFFLINE, offline=True, token=None)
    assert answer["tokenizer"] == chain.pushed["tokenizer"]
    assert answer["codes"] == [chain.pushed["codes"], all_codes()]
    for error, words in zip(
        answer["errors"],
        ("dataset alice/nothing is not in the cache", "model alice/codes is not in the cache", "cannot be reached"),
        strict=True,
    ):
        assert words in error and error.endswith("HF_HUB_OFFLINE is set")


# What is sent, without a server


@pytest.fixture
def sent(monkeypatch) -> dict[str, bytes]:
    files: dict[str, bytes] = {}

    def push_folder(folder, repo_id, **options):
        files.update({str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")})

    monkeypatch.setattr(codes_push, "push_folder", push_folder)
    return files


def push(folder: Path, tokenizer=None) -> None:
    push_codes(folder, "owner/name", tokenizer, token="hf_x")


def test_the_manifest_s_own_tokenizer_draws_the_examples(sent, tmp_path):
    push(codes_folder())
    assert "examples.png" in sent
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    for name in (str(tmp_path / "gone"), str(tokenizer_folder(1)), None):
        sent.clear()
        edit(folder, tokenizer_id=name)
        push(folder)
        assert "examples.png" not in sent, name


def test_names_on_the_hub_stay_in_the_manifest(sent, tmp_path):
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    edit(folder, tokenizer_id="owner/tokenizer", tokenizer_revision="0" * 40)
    push(folder)
    assert json.loads(sent[MANIFEST_NAME])["tokenizer_id"] == "owner/tokenizer"
    edit(folder, tokenizer_id="/home/me/tokenizer", tokenizer_revision=None)
    push(folder, load_image_tokenizer(tokenizer_folder()))
    assert json.loads(sent[MANIFEST_NAME])["tokenizer_id"] is None
    assert "examples.png" in sent
    assert find_codes(folder).manifest.tokenizer_id == "/home/me/tokenizer", "the folder stays as it is"


def test_paths_that_look_like_names_stay_here(sent, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    edit(folder, tokenizer_id="runs/tokenizer")
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(codes_push, "load_image_tokenizer", lambda *args, **options: pytest.fail("the Hub was asked"))
        push(folder)
    assert json.loads(sent[MANIFEST_NAME])["tokenizer_id"] is None
    shutil.copytree(tokenizer_folder(), tmp_path / "runs" / "tokenizer")
    monkeypatch.chdir(tmp_path)
    push(folder)
    assert json.loads(sent[MANIFEST_NAME])["tokenizer_id"] is None
    assert "examples.png" in sent


def test_a_card_made_by_hand_wins(sent, tmp_path):
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    (folder / "README.md").write_text("my card")
    push(folder)
    assert sent["README.md"] == b"my card"


def test_what_is_not_whole_stays_here(sent, tmp_path):
    with pytest.raises(InputError, match="is not a folder of codes: it is not a folder"):
        push(tmp_path / "nothing")
    folder = Path(shutil.copytree(codes_folder(), tmp_path / "codes"))
    second = folder / "data" / "train-00001-of-00002.parquet"
    second.write_bytes(second.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"is not whole and stays here: .*00001-of-00002.parquet is damaged") as error:
        push(folder)
    assert "\n" not in str(error.value)
    (folder / MANIFEST_NAME).unlink()
    with pytest.raises(InputError, match="whose making has not finished"):
        push(folder)
    assert not sent


def test_another_tokenizer_than_the_codes_are_of(sent):
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        push(codes_folder(), tokenizer_folder(1))
    assert not sent


def test_names_and_tokens_are_checked_before_any_work(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match="'name' cannot be a repository"):
        push_codes("nowhere", "name")
    with pytest.raises(InputError, match="a push needs the token"):
        push_codes("nowhere", "owner/name")


def edit(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / MANIFEST_NAME).read_text())
    (folder / MANIFEST_NAME).write_text(json.dumps(content | changes))
    CodesManifest.load(folder)
