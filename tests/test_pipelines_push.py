"""The command around the pushes; what they do is in the tests of each."""

import json
import sys

import pytest
from tiny_chain import bundle_folder, codes_folder, tokenizer_folder

from pictogram import __main__ as cli
from pictogram.hub.card_facts import CardFacts
from pictogram.hub.errors import InputError
from pictogram.hub.repository import PushedRepository
from pictogram.pipelines import push
from pictogram.pipelines.push import find_out


def test_folders_are_told_by_their_files(tmp_path):
    assert find_out(tokenizer_folder()).kind == "image tokenizer"
    assert find_out(codes_folder()).kind == "codes"
    assert find_out(codes_folder(), "owner/tokenizer").kind == "codes"
    assert find_out(bundle_folder()).kind == "bundle"


def test_what_cannot_be_pushed(tmp_path):
    with pytest.raises(InputError, match="holds no image tokenizer, finished codes or bundle; expected what train-"):
        find_out(tmp_path)
    with pytest.raises(InputError, match="nowhere is not a folder; expected"):
        find_out(tmp_path / "nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="holds no image tokenizer, finished codes or bundle"):
        find_out(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json is not valid JSON"):
        find_out(tmp_path)
    for folder in (tokenizer_folder(), bundle_folder()):
        with pytest.raises(InputError, match="--tokenizer goes with a folder of codes"):
            find_out(folder, "owner/tokenizer")
    for folder in (bundle_folder(), codes_folder(), tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"--remote-code goes with the folder of an image tokenizer; .* is none"):
            find_out(folder, remote_code=True)


def run(monkeypatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["pictogram", "push", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    assert exit_.value.code in (0, 2)


@pytest.mark.parametrize("kind", ["image tokenizer", "codes", "bundle"])
def test_options_reach_the_push(kind, monkeypatch, capsys):
    folder = {"image tokenizer": tokenizer_folder, "codes": codes_folder, "bundle": bundle_folder}[kind]()
    called = []

    def record(*arguments, **options):
        called.append((arguments, options))
        return PushedRepository("owner/name", "model", "1" * 40, "https://hub/owner/name")

    monkeypatch.setattr(push, f"push_{kind.replace(' ', '_')}", record)
    facts = ("--license", "mit", "--data-license", "my own", "--dataset", "owner/a", "--dataset", "owner/b")
    options = ("--private", "--revision", "draft", "--tag", "v1", "--create-pr")
    run(monkeypatch, folder, "--repo", "owner/name", *options, *facts, "--json")
    document = json.loads(capsys.readouterr().out)
    assert document["pushed"] == kind
    assert (document["repo_id"], document["commit"]) == ("owner/name", "1" * 40)
    own = {"codes": {"tokenizer": None}, "image tokenizer": {"remote_code": False}, "bundle": {}}[kind]
    told = {"facts": CardFacts("mit", "my own", ["owner/a", "owner/b"])}
    passed = {"private": True, "revision": "draft", "tag": "v1", "create_pr": True} | told
    assert called == [((folder, "owner/name"), passed | own)]
    run(monkeypatch, folder, "--repo", "owner/name")
    assert "url: https://hub/owner/name" in capsys.readouterr().out
    assert called[1][1]["private"] is called[1][1]["create_pr"] is False


def test_code_is_sent_along_if_it_is_wanted(monkeypatch, capsys):
    wanted = []

    def record(folder, repo_id, *, remote_code, **options):
        wanted.append(remote_code)
        return PushedRepository(repo_id, "model", "1" * 40, "https://hub/owner/name")

    monkeypatch.setattr(push, "push_image_tokenizer", record)
    run(monkeypatch, tokenizer_folder(), "--repo", "owner/name", "--remote-code")
    assert wanted == [True]
    run(monkeypatch, bundle_folder(), "--repo", "owner/name", "--remote-code")
    assert "--remote-code goes with the folder of an image tokenizer" in capsys.readouterr().err
    assert wanted == [True]


def test_mistakes_are_one_line(monkeypatch, capsys):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    for arguments, words in [
        ((bundle_folder(), "--repo", "owner/name"), "a push needs the token of an account"),
        ((codes_folder(), "--repo", "name"), "'name' cannot be a repository on the Hub"),
        ((codes_folder(), "--repo", "owner/name"), "a push needs the token of an account"),
        ((tokenizer_folder(), "--repo", "owner/name", "--create-pr", "--tag", "v1"), "merge the pull request first"),
        ((codes_folder(), "--repo", "owner/name", "--create-pr", "--tag", "v1"), "merge the pull request first"),
        (
            (bundle_folder(), "--repo", "owner/name", "--create-pr", "--revision", "x"),
            "leave out either it or revision",
        ),
    ]:
        run(monkeypatch, *arguments)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("error: ") and words in captured.err and captured.err.count("\n") == 1
