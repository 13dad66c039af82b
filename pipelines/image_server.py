"""Pictures over HTTP, in the form of the OpenAI API.

    POST /v1/images/generations     JSON with a prompt -> JSON with PNG files in base64
    GET  /v1/models                 the one model
    GET  /health                    how many pictures wait

Errors are JSON, too: {"error": {"message", "type", "param", "code"}}. The application is plain ASGI, made by
`new_application`; `ImageServer` runs it with uvicorn.
"""

from __future__ import annotations

import asyncio
import base64
import socket
import time
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..hub.errors import InputError
from .http_json import ServerError
from .image_queue import DrawingError, ImageQueue, QueueClosedError, QueueFullError, ServedImage
from .images_request import ImagesRequest, RequestLimits, pixel_sizes, read_images_request

_BODY_SECONDS = 30.0
"""A client that sends its few kilobytes slower than this holds a place that others could have."""

_CLOSING_SECONDS = 30
"""What a batch in the making has when the server ends."""


def new_application(queue: ImageQueue, limits: RequestLimits, model: str) -> Starlette:
    """The ASGI application.

    Args:
        queue: draws the pictures.
        limits: of a request.
        model: name of the one model, in GET /v1/models.
    """
    started = int(time.time())

    async def generate(request: Request) -> Response:
        try:
            body = await asyncio.wait_for(_read_body(request, limits.max_body), _BODY_SECONDS)
            return await _draw(queue, request, read_images_request(body, queue.pipeline.bundle, limits, model))
        except InputError as error:  # one of a server behind us is no fault of the client
            return _failure(error, 502 if isinstance(error, ServerError) else 400)
        except TimeoutError:
            return _failure(f"the body did not come within {_BODY_SECONDS:g} s", 408)
        except ClientDisconnect:
            return _GONE

    async def list_models(request: Request) -> Response:
        sizes = pixel_sizes(queue.pipeline.bundle)
        entry = {"id": model, "object": "model", "created": started, "owned_by": "pictogram", "sizes": sizes}
        return JSONResponse({"object": "list", "data": [entry]})

    async def health(request: Request) -> Response:
        state = {"waiting": queue.num_waiting, "max_queue": queue.max_queue, "drawn": queue.num_images}
        return JSONResponse({"status": "ok" if queue.is_open else "closed", **state}, 200 if queue.is_open else 503)

    return Starlette(
        routes=[
            Route("/v1/images/generations", generate, methods=["POST"]),
            Route("/v1/models", list_models),
            Route("/health", health),
        ],
        exception_handlers={HTTPException: _http_failure, Exception: _unforeseen_failure},
    )


class ImageServer(uvicorn.Server):
    """An application under uvicorn.

    When it ends, by a signal or `should_exit`, waiting requests are told at once, and what is being drawn is finished.

    Args:
        application: see `new_application`.
        queue: that of the application.
        on_start: called when requests are taken.
    """

    def __init__(self, application: Starlette, queue: ImageQueue, on_start: Callable[[], None] = lambda: None):
        super().__init__(
            uvicorn.Config(
                application,
                lifespan="off",
                log_level="warning",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_CLOSING_SECONDS,
            )
        )
        self.queue, self.on_start = queue, on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begins to listen."""
        await super().startup(sockets)
        self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Ends: uvicorn waits for requests that are being answered, and those in the queue would take too long."""
        self.queue.close()
        await super().shutdown(sockets)


async def _draw(queue: ImageQueue, request: Request, wanted: ImagesRequest) -> Response:
    try:
        drawing = asyncio.wrap_future(queue.submit(wanted))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({drawing, gone}, return_when=asyncio.FIRST_COMPLETED)
            return _pictures(drawing.result()) if drawing.done() else _GONE
        finally:
            gone.cancel()
            drawing.cancel()  # out of the queue, if it still waits there
    except QueueFullError:
        message = f"{queue.max_queue} pictures may wait, and there is no room for {wanted.num_images} more; try again"
        return _failure(message, 503, "queue_full", {"Retry-After": str(queue.retry_after)})
    except DrawingError:
        return _failure(_OUR_FAULT, 500)
    except QueueClosedError:
        return _failure("the server is shutting down", 503, "shutting_down", {"Retry-After": "10"})


async def _disconnected(request: Request) -> None:
    """Returns when the client has closed the connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_body(request: Request, limit: int) -> bytes:
    """The body; read no further than it is allowed to be long, whatever its header says."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the body must have at most {limit} bytes")
    return bytes(body)


def _pictures(images: list[ServedImage]) -> Response:
    data = [
        {"b64_json": base64.b64encode(image.png).decode("ascii"), "seed": image.seed, "bits": image.bits}
        for image in images
    ]
    return JSONResponse({"created": int(time.time()), "output_format": "png", "data": data})


def _failure(
    error: Exception | str, status: int, code: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """An error in the OpenAI API's form."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    content = {"message": str(error), "type": kind, "param": None, "code": code}
    return JSONResponse({"error": content}, status, headers)


async def _http_failure(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _failure(error.detail, error.status_code, headers=dict(error.headers or {}))


async def _unforeseen_failure(request: Request, error: Exception) -> Response:
    """A bug: starlette raises it again behind the answer, for the log."""
    return _failure(_OUR_FAULT, 500)


_OUR_FAULT = "something went wrong here; the server's log tells more"

_GONE = Response(status_code=499)
"""For a client that does not read it any more."""
