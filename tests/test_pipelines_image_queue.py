import gc
import io
import logging
import weakref
from concurrent.futures import CancelledError, Future

import pytest
from PIL import Image
from tiny_chain import shared_bundle
from tiny_servers import SECONDS, GatedPipeline

from pictogram.hub.errors import InputError
from pictogram.lm.image_sampler import ImageSampling
from pictogram.pipelines.image_queue import DrawingError, ImageQueue, QueueClosedError, QueueFullError, ServedImage
from pictogram.pipelines.images_request import ImagesRequest
from pictogram.pipelines.text_to_image import TextToImagePipeline


@pytest.fixture
def pipeline():
    return GatedPipeline()


@pytest.fixture
def queue(pipeline: GatedPipeline):
    queue = ImageQueue(pipeline, max_queue=10, max_batch=6)
    yield queue
    pipeline.gate.set()
    queue.close()
    queue.join(SECONDS)


def wanted(prompt: str = "red apple", num_images: int = 1, seed: int = 0, symbol: int | None = None, **sampling):
    return ImagesRequest(prompt, num_images, seed, None, symbol, ImageSampling(**sampling))


def hold(queue: ImageQueue, pipeline: GatedPipeline) -> Future[list[ServedImage]]:
    """The thread is busy with this until the gate opens."""
    future = queue.submit(wanted("held"))
    assert pipeline.called.acquire(timeout=SECONDS)
    return future


def test_pictures_are_those_of_the_pipeline(queue: ImageQueue, pipeline: GatedPipeline):
    pipeline.gate.set()
    served = queue.submit(wanted(num_images=2, seed=5, temperature=0.7)).result(SECONDS)
    expected = TextToImagePipeline(shared_bundle())("red apple", num_images=2, seed=5, temperature=0.7)
    assert [image.seed for image in served] == [5, 6]
    assert [image.bits for image in served] == expected.bits.tolist()
    for image, picture in zip(served, expected.images, strict=True):
        with Image.open(io.BytesIO(image.png)) as opened:
            assert opened.format == "PNG" and opened.mode == "RGB"
            assert opened.tobytes() == picture.tobytes()


def test_requests_that_wait_share_a_batch(queue: ImageQueue, pipeline: GatedPipeline):
    hold(queue, pipeline)
    futures = [queue.submit(wanted(words, seed=seed)) for words, seed in [("a", 3), ("b", 3), ("", 9)]]
    several = queue.submit(wanted("c", num_images=2, seed=7))
    pipeline.gate.set()
    drawn = [future.result(SECONDS)[0] for future in futures]
    assert [image.seed for image in several.result(SECONDS)] == [7, 8]
    assert [call["prompts"] for call in pipeline.calls] == [["held"], ["a", "b", "", "c", "c"]]
    assert pipeline.calls[1]["seed"] == [3, 3, 9, 7, 8]
    alone = [queue.submit(wanted(words, seed=seed)).result(SECONDS)[0] for words, seed in [("a", 3), ("b", 3), ("", 9)]]
    assert [image.png for image in drawn] == [image.png for image in alone]
    assert (queue.num_requests, queue.num_images) == (8, 9)


def test_other_settings_wait_for_their_turn(queue: ImageQueue, pipeline: GatedPipeline):
    hold(queue, pipeline)
    cold = [wanted(words, temperature=0.5) for words in ("b", "e")]
    order = [wanted("a"), cold[0], wanted("c"), wanted("d", symbol=2), cold[1]]
    futures = [queue.submit(request) for request in order]
    pipeline.gate.set()
    for future in futures:
        assert len(future.result(SECONDS)) == 1
    assert [call["prompts"] for call in pipeline.calls] == [["held"], ["a", "c"], ["b", "e"], ["d"]]
    assert [call["temperature"] for call in pipeline.calls] == [None, None, 0.5, None]
    assert [call["symbol"] for call in pipeline.calls] == [None, None, None, 2]


def test_a_batch_has_a_limit(queue: ImageQueue, pipeline: GatedPipeline):
    hold(queue, pipeline)
    futures = [queue.submit(wanted(words, num_images=count)) for words, count in [("a", 3), ("b", 4), ("c", 3)]]
    pipeline.gate.set()
    assert [len(future.result(SECONDS)) for future in futures] == [3, 4, 3]
    assert [call["prompts"] for call in pipeline.calls] == [["held"], ["a"] * 3 + ["c"] * 3, ["b"] * 4]
    assert len(queue.submit(wanted("d", num_images=9)).result(SECONDS)) == 9  # larger than a batch
    assert pipeline.calls[-1]["batch_size"] == 6


def test_the_queue_has_a_limit(queue: ImageQueue, pipeline: GatedPipeline):
    hold(queue, pipeline)
    futures = [queue.submit(wanted(num_images=count)) for count in (4, 5)]
    assert queue.num_waiting == 9
    with pytest.raises(QueueFullError):
        queue.submit(wanted(num_images=2))
    futures.append(queue.submit(wanted()))
    with pytest.raises(QueueFullError):
        queue.submit(wanted())
    assert queue.retry_after >= 1
    pipeline.gate.set()
    assert [len(future.result(SECONDS)) for future in futures] == [4, 5, 1]
    assert queue.num_waiting == 0


def test_who_leaves_makes_room(queue: ImageQueue, pipeline: GatedPipeline):
    held = hold(queue, pipeline)
    left = queue.submit(wanted("left", num_images=10))
    assert left.cancel()
    assert queue.num_waiting == 0
    stayed = queue.submit(wanted("stayed", num_images=10))
    assert not held.cancel()  # it is being drawn
    pipeline.gate.set()
    assert len(stayed.result(SECONDS)) == 10
    assert len(held.result(SECONDS)) == 1
    assert [call["prompts"][0] for call in pipeline.calls] == ["held", "stayed"]
    with pytest.raises(CancelledError):
        left.result()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (wanted("long " * 60), "but the model has 64"),
        (wanted("lone \ud800 surrogate"), "lone surrogate at position 5"),
        (wanted(seed=2**63 - 1, num_images=2), r"seeds must be 0 or more and below 2\*\*63"),
        (wanted(temperature=-1.0), "temperature must be 0, or at least"),
        (wanted(top_p=1.5), "top_p must be above 0 and at most 1"),
        (wanted(top_k=(1, 2, 3)), "top_k has 3 values"),
        (wanted(symbol=6), "a symbol is a whole-image code, 0 to 5, got 6"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_the_door(queue: ImageQueue, pipeline: GatedPipeline, asked, message: str):
    with pytest.raises(InputError, match=message):
        queue.submit(asked)
    assert pipeline.calls == []


def test_a_failure_costs_its_batch_only(queue: ImageQueue, pipeline: GatedPipeline, caplog):
    pipeline.gate.set()
    pipeline.error = ZeroDivisionError("a bug")
    with caplog.at_level(logging.ERROR), pytest.raises(DrawingError):
        queue.submit(wanted()).result(SECONDS)
    assert "a bug" in caplog.text
    pipeline.error = InputError("the backend is away")
    with pytest.raises(InputError, match="the backend is away"):
        queue.submit(wanted()).result(SECONDS)
    pipeline.error = None
    assert len(queue.submit(wanted()).result(SECONDS)) == 1


def test_the_end(queue: ImageQueue, pipeline: GatedPipeline):
    held = hold(queue, pipeline)
    waiting = [queue.submit(wanted("a")), queue.submit(wanted("b", temperature=0.5))]
    waiting[1].cancel()
    queue.close()
    with pytest.raises(QueueClosedError):
        waiting[0].result(SECONDS)
    with pytest.raises(QueueClosedError):
        queue.submit(wanted())
    assert not queue.is_open and not held.done()
    pipeline.gate.set()
    assert len(held.result(SECONDS)) == 1
    queue.join(SECONDS)
    assert [call["prompts"] for call in pipeline.calls] == [["held"]]
    queue.close()  # once more is no harm


def test_results_are_not_kept(queue: ImageQueue, pipeline: GatedPipeline):
    pipeline.gate.set()
    future = queue.submit(wanted())
    future.result(SECONDS)
    kept = weakref.ref(future)
    queue.submit(wanted()).result(SECONDS)
    queue.submit(wanted()).result(SECONDS)  # while it is drawn, the one before is the last that is known
    del future
    gc.collect()
    assert kept() is None
