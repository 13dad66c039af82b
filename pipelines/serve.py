"""The `serve` command: a bundle behind an HTTP server."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ..hub.command_line import check_options, command, option, run_command
from ..hub.errors import InputError
from ..hub.repository import is_hub_name
from .text_to_image import TextToImagePipeline

_MAX_FILES = 4096


@dataclass(kw_only=True)
class ServeConfig:
    """What is served, where, and how much of it at a time."""

    model: str = option("noto", "Bundle: a folder, owner/name on the Hub, or the shipped noto or fashion.")
    revision: str = option("", "Branch, tag or commit of the bundle on the Hub.")
    backend: str = option("", "URL of a server that runs the bundle's prior and draws the codes, such as vLLM.")
    host: str = option("127.0.0.1", "Address to listen at; 0.0.0.0 for all of this machine's.")
    port: int = option(8000, "Port to listen at; 0 takes a free one.", at_least=0, at_most=65535)
    max_queue: int = option(256, "Pictures that may wait; who asks for more is told to come back.", at_least=1)
    max_batch: int = option(32, "Pictures drawn together.", at_least=1)
    max_images: int = option(8, "Pictures of one request.", at_least=1)
    max_prompt: int = option(4000, "Characters of a prompt.", at_least=1)

    def __post_init__(self) -> None:
        check_options(self)
        if self.max_images > self.max_queue:
            raise InputError(
                f"max_images must be at most max_queue, or the largest request never has room; got {self.max_images} "
                f"and {self.max_queue}"
            )


def serve(config: ServeConfig) -> dict[str, Any]:
    """Serves until SIGINT or SIGTERM, and returns what was done.

    Raises:
        InputError: starlette or uvicorn is not installed, the address is taken or none of this machine's, or the bundle
            cannot be loaded.
    """
    try:
        from .image_server import ImageServer, new_application
    except ImportError as error:
        raise InputError(f"serving needs two more packages ({error}): pip install starlette uvicorn") from None
    from .image_queue import ImageQueue
    from .images_request import RequestLimits

    _allow_connections()
    with _listen(config.host, config.port) as listening:
        url = f"http://{'[' + config.host + ']' if ':' in config.host else config.host}:{listening.getsockname()[1]}"
        pipeline = TextToImagePipeline.from_pretrained(
            config.model, revision=config.revision or None, backend=config.backend or None
        )
        queue = ImageQueue(pipeline, max_queue=config.max_queue, max_batch=config.max_batch)
        limits = RequestLimits(config.max_images, config.max_prompt)
        application = new_application(queue, limits, _model_name(config.model))
        server = ImageServer(application, queue, lambda: _announce(url))
        with _signals_to(server.handle_exit):
            server.run(sockets=[listening])
    return {"url": url, "requests": queue.num_requests, "pictures": queue.num_images}


def _listen(host: str, port: int) -> socket.socket:
    """A port that is taken is known before a large bundle is loaded."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise InputError(f"cannot listen at {host}, port {port}: {error.strerror or error}") from error


def _allow_connections() -> None:
    """Systems that count connections among files often allow a process 256 or 1024 until it asks for more."""
    try:
        import resource
    except ImportError:  # Windows has no such count
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_FILES if hard == resource.RLIM_INFINITY else min(_MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _announce(url: str) -> None:
    print(f"pictures at {url}/v1/images/generations; Ctrl-C ends it", file=sys.stderr, flush=True)


def _model_name(model: str) -> str:
    """A name on the Hub, or a folder's own name: clients need not know where it lies."""
    return model if is_hub_name(model) else Path(model).expanduser().resolve().name


@contextmanager
def _signals_to(end: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Uvicorn raises the signal that ended it once more behind its end; that was asked for and is no failure."""
    handlers = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


main = command(
    ServeConfig,
    serve,
    "serve",
    """Draw pictures for others: an HTTP server in the form of the OpenAI API.

    Requests that wait at the same time with equal settings are drawn together. The server has no accounts and no keys:
    keep it on this machine or in a network of your own.

    Example: pictogram serve --port 8000
    """,
)

if __name__ == "__main__":
    run_command(main)
