import base64
import contextlib
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image
from tiny_chain import shared_bundle
from tiny_servers import SECONDS, GatedPipeline, PriorServer

from pictogram.pipelines import image_server
from pictogram.pipelines.image_queue import ImageQueue
from pictogram.pipelines.image_server import ImageServer, new_application
from pictogram.pipelines.images_request import RequestLimits
from pictogram.pipelines.text_to_image import TextToImagePipeline

PATH = "/v1/images/generations"


class Running:
    """A server in a thread."""

    def __init__(self, pipeline: TextToImagePipeline, max_queue: int = 16, max_batch: int = 8):
        self.queue = ImageQueue(pipeline, max_queue=max_queue, max_batch=max_batch)
        application = new_application(self.queue, RequestLimits(max_images=4, max_prompt=400), "tiny")
        started = threading.Event()
        self.server = ImageServer(application, self.queue, started.set)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.thread = threading.Thread(target=self.server.run, args=([self.listening],), daemon=True)
        self.thread.start()
        assert started.wait(SECONDS)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any, http.client.HTTPMessage]:
        """Status, JSON and headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body).encode())
            response = connection.getresponse()
            return response.status, json.loads(response.read()), response.headers

    def draw(self, **body: Any) -> tuple[int, Any]:
        return self.ask("POST", PATH, body)[:2]

    def wait_for(self, num_waiting: int) -> None:
        deadline = time.monotonic() + SECONDS
        while self.queue.num_waiting != num_waiting:
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join(SECONDS)
        assert not self.thread.is_alive()
        self.queue.join(SECONDS)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """For tests that leave it as it is."""
    running = Running(TextToImagePipeline(shared_bundle()))
    yield running
    running.end()


@pytest.fixture
def pipeline() -> GatedPipeline:
    return GatedPipeline()


@pytest.fixture
def gated(pipeline: GatedPipeline) -> Iterator[Running]:
    running = Running(pipeline)
    yield running
    pipeline.gate.set()
    running.end()


def pixels(entry: dict[str, Any]) -> bytes:
    with Image.open(io.BytesIO(base64.b64decode(entry["b64_json"], validate=True))) as image:
        assert (image.format, image.size) == ("PNG", (16, 16))
        return image.tobytes()


def test_pictures_are_those_of_the_local_pipeline(running: Running):
    options: dict[str, Any] = {"guidance_scale": 1.5, "temperature": [0.8, 1], "top_k": 5, "top_p": 0.9, "symbol": 2}
    status, content = running.draw(prompt="red apple", n=3, seed=11, size="16x16", **options)
    assert status == 200
    expected = TextToImagePipeline(shared_bundle())("red apple", num_images=3, seed=11, **options)
    assert [pixels(entry) for entry in content["data"]] == [image.tobytes() for image in expected.images]
    assert [entry["seed"] for entry in content["data"]] == [11, 12, 13]
    assert [entry["bits"] for entry in content["data"]] == expected.bits.tolist()
    assert abs(content["created"] - time.time()) < 60


def test_a_seed_that_was_told_gives_the_picture_again(running: Running):
    _, first = running.draw(prompt="")
    _, second = running.draw(prompt="", seed=first["data"][0]["seed"])
    assert first["data"] == second["data"]


def test_what_is_there(running: Running):
    status, models, _ = running.ask("GET", "/v1/models")
    assert status == 200
    (model,) = models["data"]
    assert (model["id"], model["object"], model["sizes"]) == ("tiny", "model", {"2x2": "16x16"})
    status, health, _ = running.ask("GET", "/health")
    assert (status, health["status"], health["waiting"], health["max_queue"]) == (200, "ok", 0, 16)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "the body must be JSON"),
        (b"[" * 4000, 400, "the body must be JSON"),
        ([], 400, "the body must be a JSON object"),
        ({"prompt": 3}, 400, "prompt must be a string, got 3"),
        ({"prompt": "x", "size": "17x17"}, 400, "size must be one of 16x16 (or 2x2)"),
        ({"prompt": "x", "n": 0}, 400, "n must be 1 to 4, got 0"),
        ({"prompt": "x", "temperature": -1}, 400, "temperature must be 0, or at least 1e-06, got -1"),
        ({"prompt": "x", "top_p": 1.5}, 400, "top_p must be above 0 and at most 1, got 1.5"),
        ({"prompt": "x", "seed": -1}, 400, "seeds must be 0 or more"),
        ({"prompt": "x", "symbol": 6}, 400, "a symbol is a whole-image code, 0 to 5, got 6"),
        ({"prompt": "long " * 60}, 400, "but the model has 64"),
        ({"prompt": "x" * 401}, 400, "prompt has 401 characters, at most 400 are allowed"),
        ({"prompt": "\ud800"}, 400, "lone surrogate"),
        ({"prompt": "x", "\ud800": 1}, 400, "unknown field"),
        (b"x" * 100_000, 413, "the body must have at most 8896 bytes"),
    ],
    ids=str,
)
def test_what_is_refused(running: Running, body: Any, status: int, message: str):
    found, content, _ = running.ask("POST", PATH, body)
    assert found == status
    assert message in content["error"]["message"]
    assert content["error"]["type"] == "invalid_request_error"
    assert running.draw(prompt="x")[0] == 200


def test_places_that_are_not_there(running: Running):
    for method, path, status in [("GET", PATH, 405), ("POST", "/v1/models", 405), ("GET", "/", 404)]:
        found, content, _ = running.ask(method, path)
        assert found == status and content["error"]["type"] == "invalid_request_error"


def test_requests_sent_together_are_one_call(gated: Running, pipeline: GatedPipeline):
    with ThreadPoolExecutor(9) as executor:
        held = executor.submit(gated.draw, prompt="held")
        assert pipeline.called.acquire(timeout=SECONDS)
        answers = [executor.submit(gated.draw, prompt=f"word {n}", seed=n) for n in range(8)]
        gated.wait_for(8)
        pipeline.gate.set()
        contents = [answer.result(SECONDS) for answer in answers]
        assert held.result(SECONDS)[0] == 200
    assert [len(call["prompts"]) for call in pipeline.calls] == [1, 8]
    alone = TextToImagePipeline(shared_bundle())
    for number, (status, content) in enumerate(contents):
        assert status == 200
        assert pixels(content["data"][0]) == alone(f"word {number}", seed=number).images[0].tobytes()


def test_a_full_queue(gated: Running, pipeline: GatedPipeline):
    with ThreadPoolExecutor(5) as executor:
        held = executor.submit(gated.draw, prompt="held")
        assert pipeline.called.acquire(timeout=SECONDS)
        waiting = [executor.submit(gated.draw, prompt="x", n=4) for _ in range(4)]
        gated.wait_for(16)
        status, content, headers = gated.ask("POST", PATH, {"prompt": "one more"})
        assert (status, headers["Retry-After"]) == (503, "1")
        assert content["error"]["code"] == "queue_full" and content["error"]["type"] == "server_error"
        assert gated.ask("GET", "/health")[1]["waiting"] == 16
        pipeline.gate.set()
        assert [answer.result(SECONDS)[0] for answer in [held, *waiting]] == [200] * 5


def test_who_leaves_is_dropped(gated: Running, pipeline: GatedPipeline):
    connections = []
    for prompt in ("held", "leaves", "leaves too"):
        connection = http.client.HTTPConnection("127.0.0.1", gated.port, timeout=SECONDS)
        connection.request("POST", PATH, json.dumps({"prompt": prompt, "n": 4}))
        connections.append(connection)
        gated.wait_for(max(0, 4 * (len(connections) - 1)))
        if prompt == "held":
            assert pipeline.called.acquire(timeout=SECONDS)
    connections[1].close()
    gated.wait_for(4)
    connections[0].close()  # its pictures are being drawn already
    pipeline.gate.set()
    assert connections[2].getresponse().status == 200
    connections[2].close()
    assert [call["prompts"][0] for call in pipeline.calls] == ["held", "leaves too"]
    assert gated.draw(prompt="x")[0] == 200


def test_a_body_that_does_not_come(gated: Running, monkeypatch):
    monkeypatch.setattr(image_server, "_BODY_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", gated.port), timeout=SECONDS) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{".encode())
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 408 ")
    for sent in (b"POST ", f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{".encode()):
        with socket.create_connection(("127.0.0.1", gated.port), timeout=SECONDS) as connection:
            connection.sendall(sent)  # and it is gone
    assert gated.ask("GET", "/health")[0] == 200


def test_a_bug_is_ours(gated: Running, pipeline: GatedPipeline):
    pipeline.gate.set()
    pipeline.error = ZeroDivisionError("secret")
    status, content = gated.draw(prompt="x")
    assert status == 500 and content["error"]["type"] == "server_error"
    assert "secret" not in json.dumps(content)
    pipeline.error = None
    assert gated.draw(prompt="x")[0] == 200


def test_the_end_with_requests_waiting(pipeline: GatedPipeline):
    running = Running(pipeline)
    with ThreadPoolExecutor(4) as executor:
        held = executor.submit(running.draw, prompt="held")
        assert pipeline.called.acquire(timeout=SECONDS)
        waiting = [executor.submit(running.draw, prompt="x") for _ in range(3)]
        running.wait_for(3)
        running.server.should_exit = True
        for answer in waiting:
            status, content = answer.result(SECONDS)
            assert (status, content["error"]["code"]) == (503, "shutting_down")
        assert not held.done()
        pipeline.gate.set()
        assert held.result(SECONDS)[0] == 200
    running.end()
    with pytest.raises(ConnectionRefusedError):
        running.draw(prompt="x")


def test_codes_by_a_server_behind():
    serving = PriorServer(shared_bundle().prior)
    with serving.running() as url:
        running = Running(TextToImagePipeline(shared_bundle(), backend=url))
        status, content = running.draw(prompt="red apple", temperature=0)
        assert status == 200
        expected = TextToImagePipeline(shared_bundle())("red apple", temperature=0)
        assert pixels(content["data"][0]) == expected.images[0].tobytes()
        status, content = running.draw(prompt="red apple", guidance_scale=2)
        assert status == 400 and "guidance_scale must be 1" in content["error"]["message"]
        serving.errors = [500]
        status, content = running.draw(prompt="red apple")
        assert status == 502 and "status 500: not now" in content["error"]["message"]
        running.end()
