import json
import socket
import threading
import time

import pytest
from tiny_servers import raw_server, says, silence

from pictogram.hub.errors import InputError
from pictogram.pipelines import http_json
from pictogram.pipelines.http_json import JsonServer, ServerError


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    """Records how long is waited between tries, and does not wait."""
    pauses: list[float] = []
    monkeypatch.setattr(http_json.time, "sleep", pauses.append)
    return pauses


def drip(begin: bytes):
    """Sends a byte now and then, so that no read of the socket ever takes long, and never ends."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            threading.Event().wait(0.02)
            connection.sendall(b"x")

    return behave


def test_json_goes_there_and_comes_back():
    seen: list[bytes] = []

    def echo(connection: socket.socket) -> None:
        says(200, b'{"a": [1, 2.5, null]}')(connection)

    with raw_server(echo) as url:
        server = JsonServer(url + "/")
        assert server.get("/models") == server.post("/x", {"b": "ü"}) == {"a": [1, 2.5, None]}
    listening = socket.create_server(("127.0.0.1", 0))

    def record() -> None:
        connection, _ = listening.accept()
        while b"\r\n\r\n" not in b"".join(seen) or not b"".join(seen).endswith(b"}"):
            seen.append(connection.recv(65536))
        says(200, b"{}")(connection)
        connection.close()

    with listening:
        thread = threading.Thread(target=record)
        thread.start()
        JsonServer(f"http://127.0.0.1:{listening.getsockname()[1]}/v1/", "secret").post("/completions", {"b": "ü"})
        thread.join()
    head, _, body = b"".join(seen).partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/completions HTTP/1.1\r\n")
    assert b"Authorization: Bearer secret" in head
    assert json.loads(body) == {"b": "ü"}


def test_the_key_is_not_shown():
    assert "secret" not in repr(JsonServer("http://h/v1", "secret"))


@pytest.mark.parametrize(
    "url",
    [
        *("", "nonsense", "localhost:8000/v1", "ftp://h/v1", "http:///v1", "http://h:port/v1"),
        *("http://a..b/v1", f"http://{'a' * 70}.example/v1", "http://exa mple/v1", "http://h/é", "http://h/a b"),
    ],
)
def test_what_is_no_url(url: str):
    with pytest.raises(InputError, match=r"a server's URL is expected, such as http://127\.0\.0\.1:8000/v1, got"):
        JsonServer(url)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0.0}, "timeout must be above 0 seconds, got 0"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"timeout": float("inf")}, "timeout must be"),
        ({"api_key": "secret\n"}, "an api_key of plain characters is expected, got others, such as a line's end$"),
        ({"api_key": "schlüssel"}, "an api_key of plain characters is expected"),
        ({"num_retries": -1}, "num_retries must be 0 or more, got -1"),
    ],
)
def test_settings_outside_their_range(options: dict, message: str):
    with pytest.raises(InputError, match=message):
        JsonServer("http://h/v1", **options)


@pytest.mark.parametrize("host", ["[::1]", "[fe80::abcd]", "localhost"])
def test_the_port_goes_without_saying(monkeypatch, host: str):
    asked = []

    def connect(connection) -> None:
        asked.append((connection.host, connection.port))
        raise ConnectionRefusedError

    monkeypatch.setattr(http_json.http.client.HTTPConnection, "connect", connect)
    with pytest.raises(ServerError, match="cannot be reached"):
        JsonServer(f"http://{host}/v1", num_retries=0).get("/models")
    assert asked == [(host.strip("[]"), 80)]


def test_nobody_there(no_pauses):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
    with pytest.raises(ServerError, match=f"the server at {url} cannot be reached: .*refused"):
        JsonServer(url).get("/models")
    assert no_pauses == [0.5, 1.0]
    with pytest.raises(ServerError, match="cannot be reached"):
        JsonServer("http://no-such-host.invalid/v1", num_retries=0).get("/models")


@pytest.mark.parametrize(
    "behaviour",
    [
        silence,
        drip(b""),
        drip(b"HTTP/1.1 200 OK\r\nX-Header: "),
        drip(b"HTTP/1.1 200 OK\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4000\r\n"),
    ],
    ids=["silence", "status", "header", "endless body", "long body", "chunk"],
)
def test_an_answer_that_does_not_end(behaviour, no_pauses):
    with raw_server(behaviour) as url:
        begun = time.monotonic()
        with pytest.raises(ServerError, match=r"gave no answer within 0\.3 s"):
            JsonServer(url, timeout=0.3).get("/models")
        assert time.monotonic() - begun < 2
    assert no_pauses == []  # whoever is late once is not asked again


@pytest.mark.parametrize(
    "half",
    [
        b"",
        b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"a": 1}',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n63\r\n{"a": 1}',
        b"\x00\x01\x02 not HTTP at all",
    ],
)
def test_a_server_that_goes_away(half: bytes, no_pauses):
    def behave(connection: socket.socket) -> None:
        connection.sendall(half)

    with raw_server(behave) as url, pytest.raises(ServerError, match="cannot be reached: "):
        JsonServer(url).get("/models")
    assert len(no_pauses) == 2
    with raw_server(behave, behave, says(200, b"{}")) as url:
        assert JsonServer(url).get("/models") == {}


def test_a_header_that_breaks_off():
    def behave(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")

    with raw_server(behave) as url, pytest.raises(ServerError, match="not JSON: nothing"):
        JsonServer(url).get("/models")  # to http.client it is a header that ends


def test_a_busy_server_is_asked_again(no_pauses):
    busy = says(503, b"busy")
    with raw_server(busy, says(429, b"", "Retry-After: 3"), says(200, b"[]")) as url:
        assert JsonServer(url).get("/models") == []
    assert no_pauses == [0.5, 3.0]
    no_pauses.clear()
    busy = says(503, b"busy", "Retry-After: 99999")
    with raw_server(busy) as url, pytest.raises(ServerError, match="answered /models with status 503: busy"):
        JsonServer(url).get("/models")
    assert no_pauses == [10.0, 10.0]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, b'{"error": {"message": "too\\nlong", "code": 400}}', "status 400: too long$"),
        (400, b'{"object": "error", "message": "as of old"}', "status 400: as of old$"),
        (404, b'{"detail": "Not Found"}', 'status 404: {"detail": "Not Found"}$'),
        (500, b"", "status 500: nothing$"),
        (500, b"<html>" + b"long " * 1000, "status 500: <html>long .*\\.\\.\\.$"),
        (301, b"", "status 301: nothing$"),
        (204, b"", "status 204: nothing$"),
        (200, b"", "something that is not JSON: nothing$"),
        (200, b"<html>", "something that is not JSON: <html>$"),
        (200, b"\xff\xfe", "something that is not JSON"),
        (200, b"[" * 100_000, "something that is not JSON"),
    ],
)
def test_answers_that_are_no_use(status: int, body: bytes, message: str, no_pauses):
    with raw_server(says(status, body)) as url, pytest.raises(ServerError, match=message) as error:
        JsonServer(url).get("/models")
    assert "\n" not in str(error.value)
    assert no_pauses == []


def test_an_answer_that_is_too_large(monkeypatch):
    monkeypatch.setattr(http_json, "_LARGEST_ANSWER", 1000)
    with raw_server(says(200, b"1" * 1000)) as url:
        assert len(str(JsonServer(url).get("/models"))) == 1000
    with raw_server(says(200, b"1" * 1001)) as url, pytest.raises(ServerError, match="with more than 1000 bytes"):
        JsonServer(url).get("/models")
