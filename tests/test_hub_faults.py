"""What becomes of pushes and downloads when the network fails, or somebody else pushes at the same time."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import HubServer
from tiny_hub import ERRORS, Client, before, cut_answers, files_of

START = (
    ERRORS
    + """
import hashlib, time
from pictogram.hub.client_errors import Request, client_errors
from pictogram.hub.repository import download_folder, open_file, push_folder

time.sleep = lambda seconds: None  # between the client's retries
kind = {"repo_type": "model"}

def push(**options):
    pushed = push_folder(given["folder"], "team/x", **kind, **options)
    answer["commit"] = pushed.commit
"""
)
PUSH = START + 'answer["error"] = error_of(push, **given["options"])'
CONTENT = {False: "^/_cas/upload/", True: "^/v1/xorbs/"}
DOWNLOADS = "^/_cas/(get|xorb)/"
CHANGED = "model team/x has changed while this push was made, so it was refused: see what came in, and push again"
WEIGHTS = np.random.default_rng(0).bytes(300_000)


class Hub:
    """A server with a repository of two people, and a client for each."""

    def __init__(self, server: HubServer, home: Path, xet: bool):
        self.server, self.home, self.xet = server, home, xet
        self.alice, self.bob = Client(server, home / "alice", xet), Client(server, home / "bob", xet)
        self.write("alice", {"config.json": b"{}", "weights.bin": WEIGHTS})

    def write(self, person: str, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            path = self.home / f"{person}'s" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def push(self, person: str = "alice", **options: Any) -> dict[str, Any]:
        client = {"alice": self.alice, "bob": self.bob}[person]
        return client.run(PUSH, token=f"hf_{person}", folder=str(self.home / f"{person}'s"), options=options)

    @property
    def stored(self) -> dict[str, Any]:
        return self.server.store.repos["model:team/x"]

    def files(self, revision: str = "main") -> dict[str, bytes]:
        there = files_of(self.server, "model:team/x", revision)
        return {name: content for name, content in there.items() if name != ".gitattributes"}  # the server's own

    def arrived(self) -> list[str]:
        """Addresses of content that has arrived whole, as often as it has."""
        whole = [entry["path"] for entry in self.server.requests if entry["status"] == 200]
        return [path for path in whole if re.search(CONTENT[self.xet], path)]


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.slow)], ids=["lfs", "xet"])
def hub(request, tmp_path, monkeypatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_BASE_DELAY", "10ms")
    monkeypatch.setenv("HF_XET_CLIENT_RETRY_MAX_ATTEMPTS", "3")
    with HubServer(users=("alice:hf_alice:team", "bob:hf_bob:team")) as server:
        yield Hub(server, tmp_path, request.param)
        assert not server.errors


# Pushes


def test_what_fails_for_a_moment_is_repeated(hub):
    hub.server.fault("POST", "/preupload/", status=503)
    hub.server.fault("PUT" if not hub.xet else "POST", CONTENT[hub.xet], after_bytes=10_000)
    hub.server.fault("PUT" if not hub.xet else "POST", CONTENT[hub.xet], status=500)
    if hub.xet:  # without it the client does not repeat a commit
        hub.server.fault("POST", "/commit/", status=503)
        hub.server.fault("POST", "/commit/", after_bytes=10)
    assert hub.push(tag="v1")["error"] is None
    assert not [fault for fault in hub.server.faults if fault["times"]], "all of them happened"
    assert hub.files("v1") == {"config.json": b"{}", "weights.bin": WEIGHTS}
    assert len(hub.stored["commits"]) == 2 and len(hub.arrived()) == 1


@pytest.mark.parametrize("trouble", [{"status": 503}, {"status": 500}, {"after_bytes": 10}])
def test_a_commit_that_fails_for_good_leaves_all_but_the_commit(hub, trouble):
    hub.server.fault("POST", "/commit/", times=100, **trouble)
    error = hub.push(tag="v1")["error"]
    if "status" in trouble:
        status = trouble["status"]
        assert re.fullmatch(
            rf"the Hub answers for model team/x: .* \(status {status}\); try again later, what .*", error
        )
    else:
        assert error == "model team/x cannot be reached: the Hub does not answer"
    assert hub.files() == {} and not hub.stored["tags"]
    sent = hub.arrived()
    hub.server.faults.clear()
    assert hub.push(tag="v1")["error"] is None
    assert hub.files("v1") == {"config.json": b"{}", "weights.bin": WEIGHTS}
    assert hub.arrived() == sent, "nothing twice"


def test_a_commit_whose_answer_is_lost_is_not_made_twice(hub):
    lost = cut_answers(hub.server, "POST", "/commit/", 0, times=1)
    error = hub.push(tag="v1")["error"]
    # Over Xet the client repeats it, and finds the branch moved, by itself.
    assert error == (CHANGED if hub.xet else "model team/x cannot be reached: the Hub does not answer")
    assert len(lost) == 1 and len(hub.stored["commits"]) == 2 and not hub.stored["tags"]
    assert hub.push(tag="v1")["error"] is None
    assert len(hub.stored["commits"]) == 2 and hub.files("v1")["weights.bin"] == WEIGHTS


# Downloads


def test_a_download_that_is_cut_is_repeated(hub):
    hub.push()
    cut = cut_answers(hub.server, "GET", DOWNLOADS, 100_000, times=2)
    code = (
        START + 'got = download_folder("team/x", **kind)\nanswer["size"] = (got.folder / "weights.bin").stat().st_size'
    )
    assert hub.bob.run(code)["size"] == len(WEIGHTS)
    assert len(cut) == 2
    assert weights_of(hub.bob) == [WEIGHTS]


def test_a_download_that_is_cut_for_good_leaves_nothing_that_loads(hub):
    hub.push()
    cut = cut_answers(hub.server, "GET", DOWNLOADS, 100_000, times=10_000)
    code = """
answer["error"] = error_of(download_folder, "team/x", **kind)
answer["cached"] = error_of(download_folder, "team/x", **kind, local_files_only=True)
"""
    answer = hub.bob.run(START + code)
    assert "was cut off (" in answer["error"] if hub.xet else answer["error"].endswith("the Hub does not answer")
    assert "is not in the cache, or not all that is needed of it" in answer["cached"]
    assert weights_of(hub.bob) == [] and cut and "\n" not in answer["error"]
    cut.extend([""] * 10_000)  # no more
    assert hub.bob.run(START + code) == {"error": None, "cached": None}
    assert weights_of(hub.bob) == [WEIGHTS]


def test_a_stream_that_is_cut_is_repeated(hub):
    hub.push()
    code = """
def read():
    with client_errors(Request("team/x", "model")), open_file("team/x", "weights.bin", revision="main", **kind) as file:
        file.seek(1000)
        answer["read"] = hashlib.sha256(file.read()).hexdigest()

answer["error"] = error_of(read)
"""
    cut = cut_answers(hub.server, "GET", DOWNLOADS, 100_000, times=2)
    answer = hub.bob.run(START + code)
    assert answer == {"read": hashlib.sha256(WEIGHTS[1000:]).hexdigest(), "error": None}
    del cut[:]
    cut_answers(hub.server, "GET", DOWNLOADS, 100_000, times=10_000)
    assert hub.bob.run(START + code) == {"error": "model team/x cannot be reached: the Hub does not answer"}


def weights_of(client: Client) -> list[bytes]:
    """What any program would find in the client's cache."""
    return [path.read_bytes() for path in (client.home / "hub").glob("*/snapshots/*/weights.bin")]


# Pushes at the same time


def test_a_commit_on_a_branch_that_moved_is_refused(hub):
    hub.server.fault("POST", "/commit/", status=412)
    assert hub.push(tag="v1")["error"] == CHANGED
    assert not hub.stored["tags"]


def test_the_second_of_two_pushes_does_not_undo_the_first(hub):
    hub.push()
    hub.write("alice", {"config.json": b'{"of": "alice"}', "alice.json": b"1"})
    hub.write("bob", {"config.json": b'{"of": "bob"}', "weights.bin": WEIGHTS, "bob.json": b"2"})
    theirs = {path.name: path.read_bytes() for path in (hub.home / "bob's").iterdir()}
    first: list[Any] = []

    def overtake(_):
        if not first:  # alice's commit waits for all of bob's push
            first.append(None)
            first.append(hub.push("bob"))

    before(hub.server, "POST", "/commit/", overtake)
    assert hub.push(tag="v1", delete_patterns=["*.json"])["error"] == CHANGED
    assert first[1]["error"] is None
    assert hub.files() == theirs and not hub.stored["tags"]
    assert hub.push(tag="v1", delete_patterns=["*.json"])["error"] is None, "having seen what came in"
    ours = {path.name: path.read_bytes() for path in (hub.home / "alice's").iterdir()}
    assert hub.files("v1") == ours and len(ours) == 3


def test_a_push_of_nothing_new_does_not_take_another_s_commit_for_its_own(hub):
    hub.push()
    hub.write("bob", {"config.json": b'{"of": "bob"}'})
    pushed: list[Any] = []

    def overtake(_):
        if not pushed:
            pushed.append(None)
            pushed.append(hub.push("bob", message="Bob's own"))

    before(hub.server, "GET", "/api/models/team/x/revision/main", overtake)  # what the client asks for at the end
    error = hub.push(tag="v1")["error"]
    commit = pushed[1]["commit"]
    assert error.startswith(f'bob pushed "Bob\'s own" to team/x at the same time, as {commit}: see what is there now')
    assert not hub.stored["tags"]


@pytest.mark.parametrize("hub", [pytest.param(True, marks=pytest.mark.slow)], ids=["xet"], indirect=True)
def test_a_push_between_the_commits_of_another_is_told(hub):
    hub.write("alice", {f"data/{index:04d}.bin": b"\0%d" % index for index in range(300)})
    hub.write("bob", {"data/0001.bin": b"\0bob", "data/0299.bin": b"\0bob", "bob.json": b"2"})
    commits: list[Any] = []

    def overtake(_):
        commits.append(None)
        if len(commits) == 2:
            commits.append(hub.push("bob", message="Bob's own"))

    before(hub.server, "POST", "/commit/", overtake)
    error = hub.push(tag="v1")["error"]
    assert error.startswith('bob pushed "Bob\'s own" to team/x at the same time, as ')
    assert not hub.stored["tags"] and hub.files()["data/0001.bin"] == b"\0bob"
    assert hub.push(tag="v1")["error"] is None
    ours = {path.relative_to(hub.home / "alice's").as_posix(): path for path in (hub.home / "alice's").rglob("*.*")}
    assert hub.files("v1") == {name: path.read_bytes() for name, path in ours.items()} | {"bob.json": b"2"}
