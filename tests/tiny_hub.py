"""The Hub's own client, against a loopback server; in processes of its own, because it reads its settings once."""

import json
import os
import subprocess
import sys
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
        settings = {
            "HF_ENDPOINT": self.server.endpoint,
            "HF_HOME": str(self.home),
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "HF_HUB_DISABLE_XET": "0" if self.xet else "1",
            "HF_TOKEN": token or "",
        }
        # The tests' own folder is theirs alone: a file called like a repository would win over it.
        self.home.mkdir(exist_ok=True)
        environment = os.environ | settings
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=self.home)


def files_of(server: HubServer, repository: str, revision: str = "main") -> dict[str, bytes]:
    """What is on the server, by path; `repository` is "model:owner/name" or "dataset:owner/name"."""
    stored = server.store.repos[repository]
    files = stored["commits"][server.store.resolve(stored, revision)]["files"]
    return {name: Path(server.store.cas(file["sha256"])).read_bytes() for name, file in files.items()}
