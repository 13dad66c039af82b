"""Asking another HTTP server for JSON: no call lasts longer than its timeout, and every failure is one clear error."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ..hub.errors import InputError, first_line

_LARGEST_ANSWER = 1 << 24
"""Bytes; codes of a picture take a hundredth of it."""

_TRY_AGAIN = frozenset({429, 502, 503, 504})
"""States of a server that pass."""

_LONGEST_PAUSE = 10.0


class ServerError(InputError):
    """A server that was asked cannot be reached, is late, refuses, or answers nonsense."""


@dataclass(frozen=True)
class JsonServer:
    """A server under one URL. Every request has a connection of its own, so threads may share this.

    Attributes:
        url: what all paths are appended to, such as "http://127.0.0.1:8000/v1".
        api_key: sent as a bearer token, if there is one.
        timeout: seconds for a request, from connecting to the last byte of the answer.
        num_retries: further tries where a connection fails or the answer is 429, 502, 503 or 504. What is late is not
            tried again.

    Raises:
        InputError: a URL that is none, or a value outside its range.
    """

    url: str
    api_key: str = field(default="", repr=False)
    timeout: float = 300.0
    num_retries: int = 2

    def __post_init__(self) -> None:
        if not _is_usable(self.url):
            raise InputError(f"a server's URL is expected, such as http://127.0.0.1:8000/v1, got {self.url!r}")
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise InputError("an api_key of plain characters is expected, got others, such as a line's end")
        if not 0 < self.timeout <= threading.TIMEOUT_MAX:
            raise InputError(f"timeout must be above 0 seconds, got {self.timeout}")
        if self.num_retries < 0:
            raise InputError(f"num_retries must be 0 or more, got {self.num_retries}")

    def get(self, path: str) -> Any:
        """The JSON at `path`.

        Raises:
            ServerError: see the class.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, content: Mapping[str, Any]) -> Any:
        """What `path` answers to some JSON.

        Raises:
            ServerError: see the class.
        """
        return self._ask("POST", path, json.dumps(content).encode())

    def _ask(self, method: str, path: str, body: bytes | None) -> Any:
        for attempt in range(self.num_retries + 1):
            is_last = attempt == self.num_retries
            pause = 0.5 * 2**attempt
            try:
                answer = self._ask_once(method, path, body)
            except _Unreachable as error:
                if is_last:
                    raise ServerError(f"the server at {self.url} cannot be reached: {error}") from error
            else:
                if answer.status not in _TRY_AGAIN or is_last:
                    return self._content(answer, path)
                pause = answer.retry_after or pause
            time.sleep(min(pause, _LONGEST_PAUSE))
        raise AssertionError("the last try returns or raises")

    def _ask_once(self, method: str, path: str, body: bytes | None) -> _Answer:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        port = parts.port or kind.default_port  # without one http.client takes the end of an IPv6 address for it
        connection = kind(parts.hostname, port, timeout=self.timeout)
        deadline = time.monotonic() + self.timeout
        watchdog = None
        try:
            connection.connect()
            watchdog = threading.Timer(deadline - time.monotonic(), _break, [connection.sock])
            watchdog.daemon = True
            watchdog.start()
            connection.request(method, parts.path.rstrip("/") + path, body, self._headers())
            response = connection.getresponse()
            answer = _Answer(response.status, _read(response), _seconds(response.headers.get("Retry-After", "")))
            if time.monotonic() >= deadline:
                raise TimeoutError  # an answer of unknown length that was cut off looks whole
            return answer
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() >= deadline:
                raise ServerError(f"the server at {self.url} gave no answer within {self.timeout:g} s") from error
            raise _Unreachable(first_line(error)) from error
        finally:
            if watchdog is not None:
                watchdog.cancel()
            connection.close()

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Connection": "close"}
        return headers | ({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {})

    def _content(self, answer: _Answer, path: str) -> Any:
        where = f"the server at {self.url} answered {path}"
        if len(answer.body) > _LARGEST_ANSWER:
            raise ServerError(f"{where} with more than {_LARGEST_ANSWER} bytes")
        if answer.status != 200:
            raise ServerError(f"{where} with status {answer.status}: {_complaint(answer.body)}")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError):
            raise ServerError(f"{where} with something that is not JSON: {_beginning(answer.body)}") from None


@dataclass(frozen=True)
class _Answer:
    status: int
    body: bytes
    retry_after: float | None


class _Unreachable(Exception):  # noqa: N818
    """No connection, or one that broke: another try may do."""


def _is_usable(url: str) -> bool:
    """Whether a request can be sent there; http.client fails late, and in many ways, at a bad name or path."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        host.encode("idna")
        is_server = parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:  # a port that is no number, a part of a name that is empty or too long
        return False
    return is_server and parts.path.isascii() and (host + parts.path).isprintable() and " " not in host + parts.path


def _break(connected: socket.socket) -> None:
    """Ends whatever waits for this connection. Timeouts of sockets count from byte to byte and so bound nothing."""
    with suppress(OSError):  # closed already
        socket.socket.shutdown(connected, socket.SHUT_RDWR)  # past TLS, which another thread is reading


def _read(response: http.client.HTTPResponse) -> bytes:
    """The body, or a little more than the largest that is allowed."""
    body = response.read(_LARGEST_ANSWER + 1)
    if response.length and len(body) <= _LARGEST_ANSWER:  # reading a limited number of bytes does not notice
        raise http.client.IncompleteRead(body, response.length)
    return body


def _seconds(retry_after: str) -> float | None:
    """What the header says, if it is a number and not a date."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None


def _complaint(body: bytes) -> str:
    """The message of an error in the OpenAI API's form, or else how the answer begins."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return _beginning(body)
    error = content.get("error", content) if isinstance(content, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return _beginning(message.encode()) if isinstance(message, str) else _beginning(body)


def _beginning(body: bytes) -> str:
    words = " ".join(body[:1000].decode(errors="replace").split())
    return (words[:297] + "..." if len(words) > 300 else words) or "nothing"
