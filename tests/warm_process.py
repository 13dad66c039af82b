"""A process that has the libraries loaded and forks a child for every command, so that a command starts at once.

`pictogram` and `python -` on the PATH of `WarmProcess.environment` are stand-ins: they hand their arguments, their
folder, their environment and their three streams over, and end with the exit code that comes back.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_STAND_IN = "#!/bin/sh\nexec '{python}' -SE '{source}' ask '{address}' {what} \"$@\"\n"


class WarmProcess:
    """Runs from `start` to `stop`; commands go one after the other."""

    def __init__(self, environment: Mapping[str, str]):
        """Starts it.

        Args:
            environment: beside that of this process; what libraries read when they are imported must stand here.
        """
        self.home = Path(tempfile.mkdtemp(prefix="warm-"))
        address = self.home / "socket"
        for what in ("pictogram", "python"):
            stand_in = self.home / "bin" / what
            stand_in.parent.mkdir(exist_ok=True)
            text = _STAND_IN.format(python=sys.executable, source=Path(__file__).resolve(), address=address, what=what)
            stand_in.write_text(text)
            stand_in.chmod(0o755)
        path = f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, **environment, "PATH": path}
        command = [sys.executable, str(Path(__file__).resolve()), "serve", str(address)]
        self._process = subprocess.Popen(
            command, env=self.environment, cwd=self.home, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == "ready\n"

    def stop(self) -> None:
        """Ends it and removes its files."""
        self._process.terminate()
        self._process.communicate()
        shutil.rmtree(self.home, ignore_errors=True)


def ask(address: str, what: str, arguments: list[str]) -> int:
    """The stand-in: what the command ended with."""
    request = {"what": what, "arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b" "], [0, 1, 2])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        return int(connection.recv(16) or b"70")


def serve(address: str) -> None:
    """Loads everything, says so, and answers until it is killed."""
    _load()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                _answer(connection)


def _load() -> None:
    import accelerate  # noqa: F401
    import datasets  # noqa: F401
    import transformers  # noqa: F401

    from pictogram import __main__ as command_line

    for name in command_line.COMMANDS:
        command_line.load(name)


def _answer(connection: socket.socket) -> None:
    streams = socket.recv_fds(connection, 1, 3)[1]
    request = json.loads(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    child = os.fork()
    if child == 0:
        _run(request, streams)
    for stream in streams:
        os.close(stream)
    connection.sendall(str(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])).encode())


def _run(request: dict[str, Any], streams: list[int]) -> None:
    """In the child; does not return."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [request["what"], *request["arguments"]]
    code = 0
    try:
        _run_python() if request["what"] == "python" else _run_pictogram()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _run_pictogram() -> None:
    from pictogram import __main__ as command_line

    command_line.main()


def _run_python() -> None:
    sys.path[0] = ""  # as for any script on standard input
    exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        sys.exit(ask(sys.argv[2], sys.argv[3], sys.argv[4:]))
