"""The command in a process of its own, as it is run."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from tiny_chain import bundle_folder

from pictogram.hub.errors import InputError
from pictogram.pipelines.serve import ServeConfig, serve

try:
    import resource
except ImportError:  # Windows, where files and sockets have no common limit
    resource = None

SECONDS = 60.0


@dataclass
class Served:
    process: subprocess.Popen[str]
    port: int

    def memory(self) -> int:
        """Bytes that the process has, in megabytes."""
        return psutil.Process(self.process.pid).memory_info().rss >> 20

    def end(self, number: int) -> tuple[int, dict]:
        self.process.send_signal(number)
        out, _ = self.process.communicate(timeout=SECONDS)
        assert len(out.splitlines()) == 1
        return self.process.returncode, json.loads(out)


@pytest.fixture(scope="module", autouse=True)
def many_files():
    """A thousand connections are more than some systems allow a process at first."""
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    if wanted < 1500:
        pytest.skip(f"a process may have only {wanted} files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def few_files() -> None:
    """As a system might allow a process at first."""
    if resource is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    command = [sys.executable, "-m", "pictogram.pipelines.serve", "--model", str(bundle_folder()), "--port", "0"]
    command += ["--max-queue", "24", "--max-batch", "8", "--max-images", "4", "--json"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, preexec_fn=few_files
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "/v1/images/generations; Ctrl-C ends it" in line, line + process.stderr.read()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        try:
            yield Served(process, int(line.split("127.0.0.1:")[1].split("/")[0]))
        finally:
            process.kill()


async def ask(port: int, body: bytes) -> tuple[int, bytes]:
    """The status, and all that came; -1 for a connection that broke."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST /v1/images/generations HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
        answer = await reader.read()
        writer.close()
        return int(answer[9:12]), answer
    except (OSError, ValueError):
        return -1, b""


async def ask_together(port: int, bodies: list[bytes]) -> list[tuple[int, bytes]]:
    return await asyncio.wait_for(asyncio.gather(*(ask(port, body) for body in bodies)), SECONDS)


def bodies(count: int, num_images: int = 1) -> list[bytes]:
    return [json.dumps({"prompt": f"word {n}", "n": num_images, "seed": n}).encode() for n in range(count)]


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_thousand_requests_at_once_and_a_signal(served: Served, number: int):
    asyncio.run(ask_together(served.port, bodies(8)))
    memory = served.memory()
    answers = asyncio.run(ask_together(served.port, bodies(1000)))
    statuses = Counter(status for status, _ in answers)
    assert set(statuses) == {200, 503} and sum(statuses.values()) == 1000
    assert all(b"retry-after: " in answer.lower() for status, answer in answers if status == 503)
    assert served.memory() - memory < 100

    with ThreadPoolExecutor(1) as executor:
        late = executor.submit(lambda: asyncio.run(ask_together(served.port, bodies(200, num_images=4))))
        time.sleep(0.1)
        code, result = served.end(number)
        late_statuses = Counter(status for status, _ in late.result(SECONDS))
    assert set(late_statuses) <= {200, 503, -1}  # who came too late found nobody
    assert (code, result["requests"]) == (0, 8 + statuses[200] + late_statuses[200])
    assert result["pictures"] == 8 + statuses[200] + 4 * late_statuses[200]


def test_an_address_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen at 127.0.0.1, port {port}: Address already in use"):
            serve(ServeConfig(model="nowhere", port=port))
    with pytest.raises(InputError, match=r"cannot listen at no-such-host\.invalid, port 0: "):
        serve(ServeConfig(model="nowhere", host="no-such-host.invalid", port=0))


def test_a_bundle_that_is_none():
    with pytest.raises(InputError, match="nowhere is not a whole bundle"):
        serve(ServeConfig(model="nowhere", port=0))
    with pytest.raises(InputError, match="a server's URL is expected"):
        serve(ServeConfig(model=str(bundle_folder()), port=0, backend="nowhere"))


def test_without_its_packages_it_says_how_to_get_them(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "pictogram.pipelines.image_server", raising=False)
    with pytest.raises(InputError, match=r"pip install starlette uvicorn"):
        serve(ServeConfig(port=0))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": 70000}, "port must be at most 65535, got 70000"),
        ({"max_queue": 0}, "max_queue must be at least 1, got 0"),
        ({"max_batch": 0}, "max_batch must be at least 1"),
        ({"max_prompt": 0}, "max_prompt must be at least 1"),
        ({"max_images": 9, "max_queue": 8}, "max_images must be at most max_queue, .* got 9 and 8"),
    ],
)
def test_settings_outside_their_range(options: dict, message: str):
    with pytest.raises(InputError, match=message):
        ServeConfig(**options)
