"""A push of many files is killed and made again: nothing goes over twice, and the tag comes last."""

import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from hub_server import HubServer
from PIL import Image
from tiny_chain import image_tokenizer, processor
from tiny_hub import Client, before, files_of

from pictogram.tokenizer.codes_writer import write_codes
from pictogram.tokenizer.images import load_image_source

REPOSITORY = "dataset:alice/x"
CONTENT = "^/_cas/upload/|^/v1/xorbs/"
PUSH_FILES = """
import sys
from pictogram.hub.repository import push_folder

push_folder(sys.argv[1], "alice/x", repo_type="dataset", tag="v1")
"""


def many_files(home: Path, count: int) -> tuple[Path, list[str]]:
    """A folder of noise, and the command that pushes it."""
    folder, generator = home / "folder", np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    for index in range(count):
        (folder / "data" / f"{index:04d}.bin").write_bytes(generator.bytes(1000 + index))
    return folder, [sys.executable, "-c", PUSH_FILES, str(folder)]


def many_codes(home: Path, count: int) -> tuple[Path, list[str]]:
    """Codes of noise, one picture a shard, and the command that pushes them."""
    (home / "pictures").mkdir()
    generator = np.random.default_rng(0)
    for index in range(count):
        noise = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(noise).save(home / "pictures" / f"{index:04d}.png")
    source = load_image_source(str(home / "pictures"))
    write_codes(source, image_tokenizer(), processor(), home / "codes", rows_per_shard=1)
    command = [sys.executable, "-m", "pictogram", "push", str(home / "codes"), "--repo", "alice/x", "--tag", "v1"]
    return home / "codes", command


def kill_at(client: Client, command: list[str], method: str, path: str, number: int) -> None:
    """Starts a command and kills it, SIGKILL, when it has begun so many requests that fit; the last is not answered."""
    begun, reached, dead = [], threading.Event(), threading.Event()

    def hold(handler):
        begun.append(handler.route)
        if len(begun) >= number and not dead.is_set():
            reached.set()
            dead.wait(60)
            raise ConnectionResetError

    before(client.server, method, path, hold)
    process = client.start(command)
    try:
        assert reached.wait(200), f"only {len(begun)} requests, ended with {process.poll()}"
    finally:
        process.kill()
        process.wait()
        dead.set()


def arrived(server: HubServer) -> list[tuple[str, int]]:
    """Content that has arrived whole, by its address, and its bytes."""
    whole = [entry for entry in server.requests if entry["status"] == 200 and entry["method"] in ("PUT", "POST")]
    return [(entry["path"], int(entry["len"])) for entry in whole if re.search(CONTENT, entry["path"])]


@pytest.mark.parametrize(
    ("make", "count", "xet"),
    [
        pytest.param(many_files, 60, False, id="lfs"),
        pytest.param(many_files, 600, True, id="xet"),
        pytest.param(many_codes, 900, False, id="codes-lfs", marks=pytest.mark.slow),
        pytest.param(many_codes, 900, True, id="codes-xet", marks=pytest.mark.slow),
    ],
)
def test_nothing_is_sent_twice(make, count, xet, tmp_path):
    folder, command = make(tmp_path, count)
    files = {f"data/{path.name}": path.read_bytes() for path in (folder / "data").iterdir()}
    assert len(files) == count
    with HubServer() as server:
        client = Client(server, tmp_path / "home", xet=xet)
        if xet:  # its content comes in few pieces, and a commit after every 250 files
            kill_at(client, command, "POST", "/commit/", 2)
        else:
            kill_at(client, command, "PUT", CONTENT, count // 2)
        stored = server.store.repos[REPOSITORY]
        assert len(stored["commits"]) == (2 if xet else 1), "the first is the server's own"
        assert 0 < len(arrived(server)) < (3 if xet else count // 2) and not stored["tags"]

        def push_again() -> None:
            done = client.process(command)
            assert done.returncode == 0, done.stderr
            there = files_of(server, REPOSITORY, "v1")
            assert {name: there.get(name) for name in files} == files
            assert stored["tags"]["v1"]["commit"] == stored["branches"]["main"]

        push_again()
        sent, commits = arrived(server), len(stored["commits"])
        made = [entry["path"] for entry in server.requests if entry["status"] == 200 and entry["method"] == "POST"]
        assert "/tag/" in [path for path in made if "/commit/" in path or "/tag/" in path][-1], "the tag comes last"
        assert len({address for address, _ in sent}) == len(sent), "a piece came twice"
        total = sum(map(len, files.values()))
        # Xet compresses, and keeps a few bytes of its own for every file.
        assert sum(size for _, size in sent) == total or (xet and sum(size for _, size in sent) < total + 100 * count)
        push_again()
        assert (arrived(server), len(stored["commits"])) == (sent, commits), "the third push sends nothing"
        assert not server.errors
