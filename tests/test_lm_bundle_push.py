"""Bundles to the Hub and back, by its own client, against a loopback server."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import HubServer
from tiny_chain import bundle, bundle_folder, codes_folder, prior, tokenizer_folder
from tiny_hub import ERRORS, Client, files_of

from pictogram.hub.errors import InputError
from pictogram.hub.evaluations import write_evaluation
from pictogram.hub.files import write_json
from pictogram.hub.provenance import Provenance
from pictogram.lm import bundle_push
from pictogram.lm.bundle import Bundle
from pictogram.lm.bundle_card import write_bundle_card
from pictogram.lm.bundle_push import push_bundle
from pictogram.pipelines.image_to_text import ImageToTextPipeline
from pictogram.pipelines.text_to_image import TextToImagePipeline

WORDS = ["red apple", "日本の旗", ""]

PUSH = (
    ERRORS
    + """
from pictogram import Bundle, push_bundle, push_codes, push_image_tokenizer
from pictogram.hub.repository import push_folder

folders = given["folders"]
answer["first"] = push_bundle(folders["trained"], "alice/bundle", tag="v1").commit
answer["same"] = push_bundle(folders["trained"], "alice/bundle", tag="v1").commit
answer["second"] = push_bundle(folders["sharded"], "alice/bundle", message="Shards").commit
answer["branch"] = push_bundle(folders["trained"], "alice/bundle", revision="draft").commit
proposed = push_bundle(folders["trained"], "alice/bundle", create_pr=True)
answer["proposed"] = [proposed.commit, proposed.url, proposed.revision]
pushed = Bundle.from_pretrained(folders["sharded"]).push_to_hub("alice/hand", private=True)
answer["hand"] = [pushed.repo_id, pushed.repo_type, pushed.commit]
answer["tokenizer"] = push_image_tokenizer(folders["tokenizer"], "alice/tokenizer").commit
push_codes(folders["codes"], "alice/codes")
from pictogram.lm.bundle import holds_bundle
names = ["alice/bundle", "alice/tokenizer", folders["trained"], folders["tokenizer"]]
answer["holds"] = [holds_bundle(name) for name in names]
answer["refused"] = error_of(push_bundle, folders["swapped"], "alice/refused")
push_folder(folders["swapped"], "alice/swapped", repo_type="model")  # as another program would

import contextlib, io
from pictogram import __main__ as cli

out, err = io.StringIO(), io.StringIO()
sys.argv = ["pictogram", "push", folders["trained"], "--repo", "alice/command", "--private", "--json"]
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), contextlib.suppress(SystemExit):
    cli.main()
answer["command"] = [out.getvalue(), err.getvalue()]
"""
)

STOCK = """
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

def logits(**options):
    prior = AutoModelForCausalLM.from_pretrained("alice/bundle", **options)
    ids = AutoTokenizer.from_pretrained("alice/bundle", **options)(given["prompt"], return_tensors="pt").input_ids
    return [ids.tolist(), prior(ids).logits[0, -1].tolist()]

answer["stock"] = [logits(revision="v1"), logits()]
answer["imported"] = "pictogram" in sys.modules
"""

DRAW = (
    ERRORS
    + """
from pictogram import Bundle, ImageToTextPipeline, TextToImagePipeline

def drawn(name, revision=None):
    pipeline = TextToImagePipeline.from_pretrained(name, device="cpu", revision=revision)
    result = pipeline(given["words"], num_images=2, seed=3)
    codes, bundle = [level.tolist() for level in result.codes], pipeline.bundle
    return [bundle.name, bundle.revision, codes, result.bits.tolist(), result.images[0].tobytes().hex()]
"""
)

READ = (
    DRAW
    + """
import os, urllib.request

answer["no bundle"] = error_of(Bundle.from_pretrained, "alice/tokenizer")
urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "/health?no-bundle-is-over").read()
answer["drawn"] = {name: drawn("alice/bundle", revision) for name, revision in given["revisions"].items()}
answer["hand"] = drawn("alice/hand")
describe = ImageToTextPipeline.from_pretrained("alice/bundle", device="cpu", revision="v1")
answer["captions"] = describe(given["picture"], max_new_tokens=4).captions
for example in given["cards"]:
    exec(compile(example, "card", "exec"), {})
guide = {"my_token": os.environ["HF_TOKEN"]}
for example in given["guide"]:
    exec(compile(example, "docs/hub.md", "exec"), guide)
answer["guide"] = [guide["pushed"].revision, guide["proposed"].revision, len(guide["stream"])]
answer["errors"] = {
    "revision": error_of(Bundle.from_pretrained, "alice/bundle", "v9"),
    "commit": error_of(TextToImagePipeline.from_pretrained, "alice/bundle", revision="0" * 40),
    "missing": error_of(Bundle.from_pretrained, "alice/nothing"),
    "swapped": error_of(Bundle.from_pretrained, "alice/swapped"),
}
token = os.environ.pop("HF_TOKEN")
answer["errors"]["private"] = error_of(Bundle.from_pretrained, "alice/command")
answer["errors"]["private pipeline"] = error_of(ImageToTextPipeline.from_pretrained, "alice/command")
answer["private"] = [
    Bundle.from_pretrained("alice/command", token=token).revision,
    ImageToTextPipeline.from_pretrained("alice/command", token=token).bundle.revision,
    TextToImagePipeline.from_pretrained("alice/command", token=token).bundle.revision,
]
"""
)

OFFLINE = (
    DRAW
    + """
answer["drawn"] = {name: drawn("alice/bundle", revision) for name, revision in given["revisions"].items()}
answer["errors"] = [error_of(Bundle.from_pretrained, name) for name in ("alice/nothing", "alice/tokenizer")]
"""
)


@dataclass(frozen=True)
class Chain:
    """What the processes found, the server they talked to, and the folders that were pushed."""

    server: HubServer
    folders: dict[str, Path]
    pushed: dict[str, Any]
    read: dict[str, Any]
    reader: Client

    @property
    def revisions(self) -> dict[str, str | None]:
        named = {"tag": "v1", "commit": self.pushed["first"], "main": None, "branch": "draft"}
        return named | {"pull request": "refs/pr/1"}


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["lfs", "xet"])
def chain(request, tmp_path_factory):
    """Pushed by one process and read by another, which shares nothing with it."""
    home = tmp_path_factory.mktemp("hub")
    folders = {"trained": trained(home), "sharded": sharded(home), "swapped": swapped(home)}
    folders |= {"tokenizer": tokenizer_folder(), "codes": codes_folder()}
    with HubServer() as server:
        pusher, reader = (Client(server, home / name, xet=request.param) for name in ("pusher", "reader"))
        pushed = pusher.run(PUSH, folders={name: str(folder) for name, folder in folders.items()})
        found = Chain(server, folders, pushed, {}, reader)
        shutil.copytree(tokenizer_folder(1), reader.home / "image-tokenizer")
        read = reader.run(
            STOCK + READ,
            prompt="<bos>red apple<image 2x2>",
            words=WORDS,
            revisions=found.revisions,
            picture=str(folders["trained"] / "samples.png"),
            cards=python_in(files_of(server, "model:alice/bundle", "v1")["README.md"].decode()),
            guide=[example.replace("owner/", "alice/") for example in python_in(GUIDE.read_text(encoding="utf-8"))],
        )
        yield replace(found, read=read)
        assert not server.errors


GUIDE = Path(__file__).parents[1] / "docs" / "hub.md"


def python_in(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def trained(home: Path) -> Path:
    """A bundle as a training leaves it, among files that nobody wants to see."""
    folder = Path(shutil.copytree(bundle_folder(), home / "trained"))
    shutil.copy(tokenizer_folder() / "model.safetensors", folder / "model-00001-of-00002.safetensors")  # no index
    for name in (".hidden", "notes.txt", "run.json", "image_tokenizer/notes.txt", "checkpoints/step-1/config.json"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("litter")
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 30, "loss": 1.25, "eval_text_bits": 7.5}) + "\n")
    write_json(folder / "complete.json", {"steps": 30})
    pipeline = TextToImagePipeline(Bundle.from_pretrained(folder))
    pipeline("red apple").images[0].save(folder / "samples.png")
    write_bundle_card(pipeline.bundle, folder, prompt='a "red" apple\n日本')
    return folder


def sharded(home: Path) -> Path:
    """A bundle with another prior, in several files."""
    parts = bundle()
    other = replace(parts, prior=prior(parts.vocabulary, seed=1))
    other.save_pretrained(home / "sharded")
    (home / "sharded" / "model.safetensors").unlink()
    other.prior.save_pretrained(home / "sharded", max_shard_size="30KB")
    return home / "sharded"


def swapped(home: Path) -> Path:
    """A bundle with another image tokenizer."""
    folder = Path(shutil.copytree(bundle_folder(), home / "swapped"))
    shutil.copytree(tokenizer_folder(1), folder / "image_tokenizer", dirs_exist_ok=True)
    return folder


def drawn(folder: Path) -> list[Any]:
    """Codes, bits and the first picture that a folder's bundle draws."""
    result = TextToImagePipeline.from_pretrained(folder, device="cpu")(WORDS, num_images=2, seed=3)
    codes = [level.tolist() for level in result.codes]
    return [codes, result.bits.tolist(), result.images[0].tobytes().hex()]


FILES = {
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "vocabulary.json", "image_tokenizer/config.json", "image_tokenizer/model.safetensors",
    "image_tokenizer/preprocessor_config.json",
}  # fmt: skip
BESIDE = {".gitattributes", "README.md"}  # the first is the server's own


def test_nothing_but_the_bundle_is_on_the_server(chain):
    for place in (("alice/bundle", "v1"), ("alice/command", "main")):
        files = files_of(chain.server, f"model:{place[0]}", place[1])
        assert set(files) == FILES | BESIDE | {"model.safetensors", "samples.png"}
        for name in (*FILES, "model.safetensors", "samples.png"):
            assert files[name] == (chain.folders["trained"] / name).read_bytes(), name
    hand = files_of(chain.server, "model:alice/hand")
    assert set(hand) == FILES | BESIDE | {"model.safetensors"}
    for content in (*files.values(), *hand.values()):
        assert str(chain.folders["trained"].parent).encode() not in content, "paths of this machine stay here"


def test_the_card_bears_the_repository_s_name_and_the_figures(chain):
    card = files_of(chain.server, "model:alice/bundle", "v1")["README.md"].decode()
    assert card.count('.from_pretrained("alice/bundle")') == 3 and "path/of/this/folder" not in card
    assert r'draw("a \"red\" apple\n日本", num_images=4' in card
    assert "| loss | 1.25 | - |\n| text bits | - | 7.5 |" in card
    assert "](samples.png)" in card and "<!--" not in card


def test_one_file_and_shards_never_lie_side_by_side(chain):
    shards = {path.name for path in chain.folders["sharded"].glob("model-*.safetensors")}
    assert len(shards) > 1
    now = {name for name in files_of(chain.server, "model:alice/bundle") if name.startswith("model")}
    assert now == {"model.safetensors.index.json"} | shards
    draft = {name for name in files_of(chain.server, "model:alice/bundle", "draft") if name.startswith("model")}
    assert draft == {"model.safetensors"}, "a branch starts as a copy of the main one"


def test_the_same_push_again_changes_nothing(chain):
    assert chain.pushed["same"] == chain.pushed["first"] != chain.pushed["second"]


def test_a_bundle_comes_back_by_name_tag_commit_and_branch(chain):
    first, second = drawn(chain.folders["trained"]), drawn(chain.folders["sharded"])
    assert first != second
    commits = {"tag": "first", "commit": "first", "main": "second", "branch": "branch"}
    for name, found in chain.read["drawn"].items():
        commit = chain.pushed["proposed"][0] if name == "pull request" else chain.pushed[commits[name]]
        assert found[:2] == ["alice/bundle", commit]
        assert found[2:] == (second if name == "main" else first), name
    assert chain.read["hand"] == ["alice/hand", chain.pushed["hand"][2], *second]
    assert chain.pushed["hand"][:2] == ["alice/hand", "model"]


def test_a_pull_request_leaves_the_main_branch(chain):
    stored, (commit, url, revision) = chain.server.store.repos["model:alice/bundle"], chain.pushed["proposed"]
    assert stored["branches"] | {"main": chain.pushed["second"], "refs/pr/1": commit} == stored["branches"]
    assert (url, revision) == (f"{chain.server.endpoint}/alice/bundle/discussions/1", "refs/pr/1")
    weights = {name for name in files_of(chain.server, "model:alice/bundle", "refs/pr/1") if name.startswith("model")}
    assert weights == {"model.safetensors"}, "shards go with the pull request"


def test_a_token_opens_what_is_private(chain):
    head = chain.server.store.repos["model:alice/command"]["branches"]["main"]
    assert chain.read["private"] == [head] * 3


def test_every_pipeline_loads_by_name(chain):
    folder = chain.folders["trained"]
    described = ImageToTextPipeline.from_pretrained(folder)(str(folder / "samples.png"), max_new_tokens=4)
    assert chain.read["captions"] == described.captions


def test_stock_transformers_load_it_without_pictogram(chain):
    assert not chain.read["imported"]
    for folder, (ids, logits) in zip(("trained", "sharded"), chain.read["stock"], strict=True):
        here = Bundle.from_pretrained(chain.folders[folder])
        vocabulary = here.vocabulary
        text = here.text_tokenizer.encode("red apple")
        assert ids == [[vocabulary.bos_id, *text, vocabulary.image_start_id("2x2")]]
        with torch.no_grad():
            expected = here.prior(input_ids=torch.tensor(ids)).logits[0, -1]
        assert logits == expected.tolist()


def test_the_card_s_examples_ran(chain):
    assert (chain.reader.home / "picture.png").stat().st_size > 0


def test_the_guide_s_examples_ran(chain):
    head = chain.server.store.repos["model:alice/tokenizer"]["branches"]["refs/pr/1"]
    assert chain.read["guide"] == ["refs/pr/1", head, 16]


def test_what_is_no_bundle_stays_on_the_hub(chain):
    assert chain.read["no bundle"] == "alice/tokenizer is not a whole bundle: it lacks vocabulary.json"
    paths = [request["path"] for request in chain.server.requests]
    until = paths.index("/health?no-bundle-is-over")
    assert not [path for path in paths[:until] if "alice/tokenizer/resolve" in path]


def test_a_bundle_is_told_from_an_image_tokenizer(chain):
    assert chain.pushed["holds"] == [True, False, True, False]


def test_parts_that_disagree_are_refused_here_and_there(chain):
    for refusal in (chain.pushed["refused"], chain.read["errors"]["swapped"]):
        assert "they do not belong together" in refusal
    assert "model:alice/refused" not in chain.server.store.repos


def test_mistakes_are_one_line_that_says_what_to_do(chain):
    for name, words in {
        "revision": "model alice/bundle has no revision 'v9': expected a branch, a tag or a commit",
        "commit": "model alice/bundle has no revision '0000",
        "missing": "no folder of that name is here, and there is no model alice/nothing on the Hub",
        "private": "there is no model alice/command on the Hub, or it is private: check the name, and log in",
        "private pipeline": "there is no model alice/command on the Hub, or it is private: check the name, and log in",
    }.items():
        assert words in chain.read["errors"][name] and "\n" not in chain.read["errors"][name], name


def test_the_command_prints_one_document_and_no_bars(chain):
    printed, noise = chain.pushed["command"]
    head = chain.server.store.repos["model:alice/command"]["branches"]["main"]
    assert chain.server.store.repos["model:alice/command"]["private"]
    found = {"repo_id": "alice/command", "repo_type": "model", "commit": head, "revision": "main"}
    assert json.loads(printed) == {"pushed": "bundle", "url": f"{chain.server.endpoint}/alice/command"} | found
    assert noise == ""


def test_offline_from_the_cache(chain):
    answer = chain.reader.run(OFFLINE, offline=True, token=None, words=WORDS, revisions=chain.revisions)
    assert answer["drawn"] == chain.read["drawn"]
    for error in answer["errors"]:
        assert "is not in the cache" in error or "lacks vocabulary.json" in error


# What is sent, without a server


@pytest.fixture
def sent(monkeypatch) -> dict[str, bytes]:
    """What the last push would have sent."""
    files: dict[str, bytes] = {}

    def push_folder(folder, repo_id, *, repo_type, allow_patterns, delete_patterns, **options):
        assert (repo_id, repo_type, options.pop("token")) == ("owner/name", "model", "hf_x")
        found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        assert set(found) <= set(allow_patterns) and "model.safetensors" in delete_patterns
        files.clear()
        files.update(found)

    monkeypatch.setattr(bundle_push, "push_folder", push_folder)
    return files


def push(source: Any) -> None:
    push_bundle(source, "owner/name", token="hf_x")


def test_a_card_made_by_hand_goes_as_it_is_and_a_draft_anew(sent, tmp_path):
    folder = trained(tmp_path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    push(str(folder))
    assert b'.from_pretrained("owner/name")' in sent["README.md"]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    with open(folder / "README.md", "a", encoding="utf-8") as file:
        file.write("One line more.\n")
    push(folder)
    assert sent["README.md"] == (folder / "README.md").read_bytes()
    (folder / "README.md").unlink()
    push(folder)
    assert b'draw("", num_images=4' in sent["README.md"]


def test_a_bundle_at_hand_brings_its_provenance(sent, tmp_path):
    folder = trained(tmp_path)
    loaded = Bundle.from_pretrained(folder)
    prints = {"bundle": loaded.fingerprint, "codes": loaded.vocabulary.codes_fingerprint}
    data = {"name": "emoji", "split": "train", "rows": 24, "fingerprint": "ab"}
    Provenance(stage="prior", fingerprints=prints, data=data, settings={"seed": 0}, versions={}).save(folder)
    push(Bundle.from_pretrained(folder))
    assert sent["provenance.json"] == (folder / "provenance.json").read_bytes()
    assert b"| learned from | 24 rows of `emoji`" in sent["README.md"]


def test_figures_come_from_the_evaluation_that_lies_there(sent, tmp_path):
    folder = trained(tmp_path)
    write_evaluation(folder, "figures", Bundle.from_pretrained(folder).fingerprint, {"pictures recalled": "96.0 %"})
    push(folder)
    assert b"| pictures recalled | 96.0 % |" in sent["README.md"] and b"loss" not in sent["README.md"]
    write_evaluation(folder, "figures", "0" * 64, {})
    with pytest.raises(InputError, match=r"figures\.json was measured on another model"):
        push(folder)


def test_what_does_not_load_stays_here(sent, tmp_path):
    folder = trained(tmp_path)
    (folder / "vocabulary.json").unlink()
    with pytest.raises(InputError, match=r"lacks vocabulary\.json"):
        push(folder)
    with pytest.raises(InputError, match="owner/other is not a bundle: it is not a folder"):
        push("owner/other")
    assert not sent


def test_names_and_tokens_are_checked_before_any_work(monkeypatch):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(InputError, match="'name' cannot be a repository"):
        push_bundle("nowhere", "name")
    with pytest.raises(InputError, match="a push needs the token"):
        bundle().push_to_hub("owner/name")
