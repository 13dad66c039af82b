"""Requests that wait for their pictures: a queue of limited length, and one thread that draws what goes together."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field

from ..hub.errors import InputError
from .images_request import ImagesRequest
from .text_to_image import TextToImagePipeline

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedImage:
    """One picture.

    Attributes:
        png: the file.
        seed: that gives it again.
        bits: -log2 of its probability given the prompt.
    """

    png: bytes
    seed: int
    bits: float


class QueueFullError(Exception):
    """There is no room for a request."""


class QueueClosedError(Exception):
    """Nothing is drawn any more."""


class DrawingError(Exception):
    """A batch failed by a fault of ours, which is in the log."""


@dataclass(frozen=True, eq=False)
class _Waiting:
    request: ImagesRequest
    future: Future[list[ServedImage]] = field(default_factory=Future)


class ImageQueue:
    """Draws pictures in one thread; requests with equal settings that wait at the same time share a batch.

    A picture depends on its prompt, seed and settings, not on the batch.

    Args:
        pipeline: draws.
        max_queue: most pictures that wait, those in the making left out.
        max_batch: most pictures drawn together; a larger request is drawn in parts.
    """

    def __init__(self, pipeline: TextToImagePipeline, *, max_queue: int, max_batch: int):
        self.pipeline, self.max_queue, self.max_batch = pipeline, max_queue, max_batch
        self.num_requests = self.num_images = 0
        self._waiting: list[_Waiting] = []
        self._changed = threading.Condition()
        self._closed = False
        self._seconds = 1.0
        # A daemon, so that a batch that takes very long does not hold a process that wants to end.
        self._thread = threading.Thread(target=self._run, name="image-queue", daemon=True)
        self._thread.start()

    @property
    def num_waiting(self) -> int:
        """Pictures that wait."""
        with self._changed:
            return self._count()

    @property
    def is_open(self) -> bool:
        """Whether requests are taken, if there is room."""
        return not self._closed and self._thread.is_alive()

    @property
    def retry_after(self) -> int:
        """Seconds after which there may be room: what the last batch took."""
        return max(1, math.ceil(self._seconds))

    def submit(self, request: ImagesRequest) -> Future[list[ServedImage]]:
        """Puts a request at the end of the queue. Cancelling the future takes it out again, unless it is being drawn.

        Raises:
            InputError: the request cannot be drawn; the message says why.
            QueueFullError: no room now.
            QueueClosedError: after `close`.
        """
        size, symbol, sampling = request.settings
        self.pipeline.check(
            request.prompt,
            num_images=request.num_images,
            seed=request.seed,
            sampling=sampling,
            size=size,
            symbol=symbol,
        )
        with self._changed:
            if not self.is_open:
                raise QueueClosedError
            if self._count() + request.num_images > self.max_queue:
                raise QueueFullError
            waiting = _Waiting(request)
            self._waiting.append(waiting)
            self._changed.notify()
        return waiting.future

    def close(self) -> None:
        """Takes no more requests and fails those that wait; a batch in the making is finished."""
        with self._changed:
            self._closed = True
            left, self._waiting = self._waiting, []
            self._changed.notify()
        for waiting in left:
            if waiting.future.set_running_or_notify_cancel():
                waiting.future.set_exception(QueueClosedError())

    def join(self, timeout: float | None = None) -> None:
        """Waits until nothing is drawn any more; call `close` before."""
        self._thread.join(timeout)

    def _count(self) -> int:
        self._waiting = [waiting for waiting in self._waiting if not waiting.future.cancelled()]
        return sum(waiting.request.num_images for waiting in self._waiting)

    def _run(self) -> None:
        while batch := self._next_batch():
            begun = time.monotonic()
            self._serve(batch)
            self._seconds = time.monotonic() - begun

    def _serve(self, batch: list[_Waiting]) -> None:
        self.num_requests += len(batch)
        try:
            images = self._draw([waiting.request for waiting in batch])
        except Exception as error:  # whatever it is, the next batch has its chance
            if not isinstance(error, InputError):
                _LOG.exception("a batch of pictures failed")
                error = DrawingError()
            for waiting in batch:
                waiting.future.set_exception(error)
        else:
            for waiting, drawn in zip(batch, images, strict=True):
                self.num_images += len(drawn)
                waiting.future.set_result(drawn)

    def _next_batch(self) -> list[_Waiting]:
        """The request that waits longest with others like it, as many as fit; empty when the queue is closed."""
        with self._changed:
            while True:
                while not self._count() and not self._closed:
                    self._changed.wait()
                batch = self._take()
                started = [waiting for waiting in batch if waiting.future.set_running_or_notify_cancel()]
                if started or self._closed:
                    return started

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        others: list[_Waiting] = []
        count = 0
        for waiting in self._waiting:
            is_alike = not batch or waiting.request.settings == batch[0].request.settings
            if is_alike and (not batch or count + waiting.request.num_images <= self.max_batch):
                batch.append(waiting)
                count += waiting.request.num_images
            else:
                others.append(waiting)
        self._waiting = others
        return batch

    def _draw(self, requests: Sequence[ImagesRequest]) -> list[list[ServedImage]]:
        """The pictures of requests with equal settings, drawn together."""
        size, symbol, sampling = requests[0].settings
        counts = [request.num_images for request in requests]
        output = self.pipeline(
            [request.prompt for request in requests for _ in range(request.num_images)],
            seed=[request.seed + number for request in requests for number in range(request.num_images)],
            size=size,
            symbol=symbol,
            batch_size=self.max_batch,
            **asdict(sampling),
        )
        served = map(ServedImage, map(output.png, range(len(output.images))), output.seeds, output.bits.tolist())
        return [[next(served) for _ in range(count)] for count in counts]
