"""Pushes as pull requests, by the Hub's own client: one commit over LFS, several over Xet."""

from typing import Any
from urllib.parse import unquote

import pytest
from hub_server import HubServer
from tiny_hub import ERRORS, Client, files_of

from pictogram.hub.errors import InputError
from pictogram.hub.repository import check_may_push

PUSHES = (
    ERRORS
    + """
import pathlib
from pictogram.hub.repository import download_folder, push_folder

folder = pathlib.Path(given["folder"])

def write(path, text):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_text(text)

def push(token="hf_alice", **options):
    pushed = push_folder(folder, "alice/x", **({"repo_type": "dataset", "token": token} | options))
    return [pushed.commit, pushed.url, pushed.revision]

write("old.bin", "old"), write("kept.bin", "kept")
answer["first"] = push(tag="v1")
answer["nothing"] = push(create_pr=True)
(folder / "old.bin").unlink()
for index in range(given["count"]):
    write(f"data/{index:04d}.bin", f"number {index}")
answer["proposed"] = push(create_pr=True, delete_patterns=["*.bin"], message="More")
got = download_folder("alice/x", repo_type="dataset", revision="refs/pr/1", token="hf_alice")
names = sorted(path.relative_to(got.folder).as_posix() for path in got.folder.rglob("*.bin"))
answer["downloaded"] = [got.commit, names]
write("late.bin", "late")
answer["went on"] = push(revision="refs/pr/1")
answer["stranger's push"] = error_of(push, "hf_bob")
answer["stranger's proposal"] = push("hf_bob", create_pr=True)
answer["branch"] = push(revision="draft")
"""
)


def let_propose(server: HubServer) -> None:
    """Any account may propose a change to a public repository, as on the Hub; the server alone asks for more."""
    httpd: Any = server.httpd
    handlers = httpd.RequestHandlerClass

    def repo(handler: Any, kind: str, name: str, write: bool = False) -> dict[str, Any]:
        of_proposals = ("/discussions", "refs/pr/", ".git/info/lfs/")
        proposes = "create_pr" in handler.q or any(part in unquote(handler.route) for part in of_proposals)
        return handlers.repo(handler, kind, name, write and not proposes)

    httpd.RequestHandlerClass = type("Open", (handlers,), {"repo": repo})


@pytest.fixture(scope="module", params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["lfs", "xet"])
def proposed(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    (home / "folder").mkdir()
    count = 300 if request.param else 5  # Xet makes a commit of every 250 files
    with HubServer(users=("alice:hf_alice", "bob:hf_bob")) as server:
        let_propose(server)
        client = Client(server, home / "home", xet=request.param)
        yield server, count, client.run(PUSHES, token=None, folder=str(home / "folder"), count=count)
        assert not server.errors


def history(server: HubServer, revision: str) -> list[str]:
    """Titles of commits, the newest first."""
    stored, titles = server.store.repos["dataset:alice/x"], []
    commit = stored["branches"][revision]
    while commit:
        titles.append(stored["commits"][commit]["title"])
        commit = stored["commits"][commit]["parent"]
    return titles


def test_the_result_names_the_pull_request(proposed):
    server, _, answer = proposed
    commit, url, revision = answer["proposed"]
    assert (url, revision) == (f"{server.endpoint}/datasets/alice/x/discussions/1", "refs/pr/1")
    assert commit == answer["downloaded"][0]


def test_the_main_branch_stays_as_it_was(proposed):
    server, _, answer = proposed
    stored = server.store.repos["dataset:alice/x"]
    assert stored["branches"]["main"] == stored["tags"]["v1"]["commit"] == answer["first"][0]
    assert answer["first"][1:] == [f"{server.endpoint}/datasets/alice/x", "main"]
    assert set(files_of(server, "dataset:alice/x")) == {".gitattributes", "old.bin", "kept.bin"}


def test_all_commits_of_one_push_are_in_one_pull_request(proposed):
    server, count, answer = proposed
    assert answer["downloaded"][1] == [*(f"data/{index:04d}.bin" for index in range(count)), "kept.bin"]
    parts = ["More (part 2)"] if count > 250 else []
    assert history(server, "refs/pr/1")[1:] == [*parts, "More", "Upload with pictogram", "initial commit"]


def test_a_pull_request_is_gone_on_with_by_its_revision(proposed):
    server, count, answer = proposed
    commit, _, revision = answer["went on"]
    assert (commit, revision) == (server.store.repos["dataset:alice/x"]["branches"]["refs/pr/1"], "refs/pr/1")
    assert len(files_of(server, "dataset:alice/x", "refs/pr/1")) == count + 3


def test_nothing_new_opens_none(proposed):
    _, _, answer = proposed
    assert answer["nothing"] == answer["first"]


def test_a_stranger_may_propose_and_not_push(proposed):
    server, count, answer = proposed
    assert "You don't have the rights to write to alice/x (status 403)" in answer["stranger's push"]
    _, url, revision = answer["stranger's proposal"]
    assert (url, revision) == (f"{server.endpoint}/datasets/alice/x/discussions/2", "refs/pr/2")
    assert len(files_of(server, "dataset:alice/x", "refs/pr/2")) == count + 4  # old.bin is still there


def test_a_branch_is_named_too(proposed):
    server, _, answer = proposed
    assert answer["branch"][1:] == [f"{server.endpoint}/datasets/alice/x", "draft"]


def test_what_does_not_go_together():
    with pytest.raises(InputError, match="a tag names a commit of a branch: merge the pull request first, then push"):
        check_may_push("a/b", "token", create_pr=True, tag="v1")
    with pytest.raises(InputError, match="for the main branch: leave out either it or revision 'draft'"):
        check_may_push("a/b", "token", create_pr=True, revision="draft")
