"""Servers on the loopback interface: one that completes ids as vLLM does, and any that misbehave."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from tiny_chain import shared_bundle
from transformers import PreTrainedModel

from pictogram.pipelines.text_to_image import TextToImageOutput, TextToImagePipeline

SECONDS = 20.0
"""Longer than anything here takes."""

_GENERATING = threading.Lock()
"""Seeds are the process's."""


@dataclass
class PriorServer:
    """POST /v1/completions by `generate()` of a prior, for a prompt of ids under `allowed_token_ids`.

    Attributes:
        prior: any causal LM.
        dialect: where the ids of an answer are: "token_ids", "logprobs" or "neither".
        models: names in GET /v1/models.
        context: max_model_len there; None says nothing.
        change: makes other ids of those of an answer.
        requests: the bodies that came.
        errors: statuses of the next completions, which they get instead of ids.
    """

    prior: PreTrainedModel
    dialect: str = "token_ids"
    models: tuple[str, ...] = ("prior",)
    context: int | None = None
    change: Callable[[list[int]], Any] = lambda ids: ids
    requests: list[dict[str, Any]] = field(default_factory=list)
    errors: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Gives the URL."""
        http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        http.daemon_threads = True
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{http.server_port}/v1"
        finally:
            http.shutdown()
            http.server_close()

    def answer(self, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        if path == "/v1/models" and body is None:
            extra = {} if self.context is None else {"max_model_len": self.context}
            return 200, {"object": "list", "data": [{"id": name, "object": "model", **extra} for name in self.models]}
        if path != "/v1/completions" or body is None:
            return 404, {"detail": "Not Found"}
        self.requests.append(body)
        if self.errors:
            return self.errors.pop(0), {"error": {"message": "not now", "type": "server_error"}}
        if body["model"] not in self.models:
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist."}}
        if max(*body["prompt"], *body["allowed_token_ids"]) >= self.prior.config.vocab_size:
            return 400, {"error": {"message": "allowed_token_ids contains out-of-vocab token id!", "code": 400}}
        ids = self.change(generate(self.prior, body))
        choice: dict[str, Any] = {"index": 0, "text": "", "finish_reason": "length", "logprobs": None}
        if self.dialect == "token_ids":
            choice["token_ids"] = ids
        elif self.dialect == "logprobs":
            choice["logprobs"] = {"tokens": [f"token_id:{id_}" for id_ in ids], "token_logprobs": [0.0] * len(ids)}
        return 200, {"object": "text_completion", "choices": [choice]}


def generate(prior: PreTrainedModel, body: dict[str, Any]) -> list[int]:
    """The ids that `generate()` of transformers draws."""
    prompt, settings = torch.tensor([body["prompt"]]), {}
    if body["temperature"] > 0:
        settings = {name: body[name] for name in ("temperature", "top_p")} | {"top_k": max(body["top_k"], 0)}
    with _GENERATING:
        torch.manual_seed(body["seed"])
        output = prior.generate(  # pyright: ignore
            prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=body["max_tokens"],
            do_sample=bool(settings),
            prefix_allowed_tokens_fn=lambda *_: body["allowed_token_ids"],
            **settings,
        )
    return output[0, prompt.shape[1] :].tolist()


def _handler(server: PriorServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*server.answer(self.path, None))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._send(*server.answer(self.path, body))

        def _send(self, status: int, content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler


@contextlib.contextmanager
def raw_server(*behaviours: Callable[[socket.socket], None]) -> Iterator[str]:
    """Each connection meets the next behaviour, the last one again and again; then it is closed. Gives the URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def accept() -> None:
        number = 0
        while not ended.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            behave = behaviours[min(number, len(behaviours) - 1)]
            number += 1
            threading.Thread(target=_meet, args=(connection, behave), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        ended.set()
        listening.close()


def _meet(connection: socket.socket, behave: Callable[[socket.socket], None]) -> None:
    with contextlib.suppress(OSError), connection:
        connection.recv(65536)
        behave(connection)


def says(status: int, body: bytes, *headers: str) -> Callable[[socket.socket], None]:
    """A behaviour: one whole answer."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return lambda connection: connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def silence(connection: socket.socket) -> None:
    """A behaviour."""
    threading.Event().wait(5)


class GatedPipeline(TextToImagePipeline):
    """Records its calls, each of which waits for the gate."""

    def __init__(self):
        super().__init__(shared_bundle())
        self.calls: list[dict] = []
        self.called, self.gate = threading.Semaphore(0), threading.Event()
        self.error: Exception | None = None

    def __call__(self, prompts: Any = "", **options: Any) -> TextToImageOutput:  # pyright: ignore
        self.calls.append({"prompts": prompts, **options})
        self.called.release()
        assert self.gate.wait(SECONDS)
        if self.error:
            raise self.error
        return super().__call__(prompts, **options)
