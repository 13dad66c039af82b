"""The Hub's own client, against a loopback server; in processes of its own, because it reads its settings once."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub_server import HubServer

_START = "import json, sys\ngiven = json.loads(sys.argv[1])\nanswer = {}\n"
_END = "\nprint('ANSWER ' + json.dumps(answer))\n"

ERRORS = """
from pictogram.hub.errors import InputError

def error_of(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except InputError as error:
        return str(error)
    return None
"""
"""For `Client.run`: `error_of` says which line a user's mistake gives."""


@dataclass(frozen=True)
class Client:
    """Whoever talks to the server, with a cache of its own."""

    server: HubServer
    home: Path
    xet: bool = False

    def run(self, code: str, *, token: str | None = "hf_alice", offline: bool = False, **given: Any) -> dict[str, Any]:
        """Runs code that reads `given` and fills `answer`; both are JSON."""
        done = self.process([sys.executable, "-c", _START + code + _END, json.dumps(given)], token, offline)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.rsplit("ANSWER ", 1)[1])

    def process(
        self, command: list[str], token: str | None = "hf_alice", offline: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Runs any command."""
        environment = self._environment(token, offline)
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=self.home)

    def start(self, command: list[str], token: str | None = "hf_alice") -> subprocess.Popen[bytes]:
        """Starts any command, whose words are lost, and does not wait for it."""
        environment, nowhere = self._environment(token, False), subprocess.DEVNULL
        return subprocess.Popen(command, env=environment, cwd=self.home, stdout=nowhere, stderr=nowhere)

    def _environment(self, token: str | None, offline: bool) -> dict[str, str]:
        settings = {
            "HF_ENDPOINT": self.server.endpoint,
            "HF_HOME": str(self.home),
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "HF_HUB_DISABLE_XET": "0" if self.xet else "1",
            "HF_TOKEN": token or "",
        }
        # The tests' own folder is theirs alone: a file called like a repository would win over it.
        self.home.mkdir(exist_ok=True)
        return os.environ | settings


def files_of(server: HubServer, repository: str, revision: str = "main") -> dict[str, bytes]:
    """What is on the server, by path; `repository` is "model:owner/name" or "dataset:owner/name"."""
    stored = server.store.repos[repository]
    files = stored["commits"][server.store.resolve(stored, revision)]["files"]
    return {name: Path(server.store.cas(file["sha256"])).read_bytes() for name, file in files.items()}


def before(server: HubServer, method: str, path: str, act: Callable[[Any], None]) -> None:
    """From the next connection on, `act` is called with the handler of every request that fits, before it is answered.

    It may wait, change what the server has stored, or raise `ConnectionResetError` to drop the connection.
    """
    httpd: Any = server.httpd
    handlers = httpd.RequestHandlerClass

    def check_fault(handler: Any) -> None:
        if handler.command == method and re.search(path, handler.route):
            act(handler)
        handlers.check_fault(handler)

    httpd.RequestHandlerClass = type("Acting", (handlers,), {"check_fault": check_fault})


def cut_answers(server: HubServer, method: str, path: str, after_bytes: int, times: int) -> list[str]:
    """The next so many answers end after so many bytes of content; returns the list that will name their paths."""
    cut: list[str] = []

    def act(handler: Any) -> None:
        if len(cut) < times:
            cut.append(handler.route)
            handler.wfile = _CutOff(handler.wfile, after_bytes)

    before(server, method, path, act)
    return cut


class _CutOff:
    """A connection that breaks after so many bytes of content."""

    def __init__(self, file: Any, left: int):
        self.file, self.left, self.in_content = file, left, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: bytes) -> int:
        if not self.in_content:  # the headers come in one piece
            self.in_content = True
            return self.file.write(data)
        self.file.write(data[: self.left])
        self.left -= len(data)
        if self.left < 0:
            self.file.flush()
            raise ConnectionResetError
        return len(data)
