"""Real vLLM on the CPU: `pytest -m slow`.

Its pinned dependencies are not ours, so it lives in an environment of its own: VLLM_PYTHON is the Python there. It
takes a minute to start.
"""

import dataclasses
import functools
import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_chain import home, output_weights, shared_bundle
from transformers import AutoModelForCausalLM, LogitsProcessorList

from pictogram.lm.bundle import Bundle
from pictogram.lm.documents import images_to_ids, text_to_image_prompt
from pictogram.lm.model import build_prior
from pictogram.lm.order import ORDERS
from pictogram.lm.processor import GrammarLogitsProcessor
from pictogram.pipelines.completion_server import CompletionServer
from pictogram.pipelines.http_json import ServerError
from pictogram.pipelines.text_to_image import TextToImagePipeline

PYTHON = os.environ.get("VLLM_PYTHON") or (sys.executable if importlib.util.find_spec("vllm") else None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="needs vLLM, here or in the environment of VLLM_PYTHON"),
]

WORDS = ["red apple", "", "grinning face", "日本の旗", "<|0:00001|>"]
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
}


@functools.cache
def folder(order: str) -> Path:
    """A bundle with heads as wide as our priors have; the narrow ones of other tests are not for vLLM's CPU kernels."""
    shared = shared_bundle(order)
    prior = build_prior(shared.vocabulary, shared.image_tokenizer, size="pico", max_length=64, seed=0).eval()
    with torch.no_grad():
        output_weights(prior).mul_(10)  # far from uniform
    path = home() / f"vllm-{order}"
    dataclasses.replace(shared, prior=prior).save_pretrained(path)
    return path


@pytest.fixture(scope="module", params=ORDERS)
def remote(request) -> Iterator[TextToImagePipeline]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert PYTHON is not None
    # `vllm serve` does the same, but not in the CPU packages whose name is not vllm.
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder(request.param))]
    command += ["--dtype", "float32", "--enforce-eager", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--no-enable-chunked-prefill"]  # else a request with a seed may end the CPU engine of 0.32
    log = home() / f"vllm-{request.param}.txt"
    environment = os.environ | SETTINGS
    with log.open("w") as file, subprocess.Popen(command, stdout=file, stderr=file, env=environment) as process:
        try:
            _wait(f"http://127.0.0.1:{port}/health", process, lambda: log.read_text(errors="replace")[-3000:])
            bundle = Bundle.from_pretrained(folder(request.param))
            yield TextToImagePipeline(bundle, backend=f"http://127.0.0.1:{port}/v1")
        finally:
            process.terminate()
            process.wait(60)


def _wait(url: str, process: subprocess.Popen, log) -> None:
    deadline = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(1)
    raise AssertionError(f"vLLM did not start:\n{log()}")


def test_greedy_codes_are_those_of_transformers(remote: TextToImagePipeline):
    bundle = remote.bundle
    vocabulary = bundle.vocabulary
    expected = TextToImagePipeline(bundle)(WORDS, temperature=0)
    drawn = remote(WORDS, temperature=0)
    assert all(torch.equal(*levels) for levels in zip(drawn.codes, expected.codes, strict=True))
    assert [image.tobytes() for image in drawn.images] == [image.tobytes() for image in expected.images]
    torch.testing.assert_close(drawn.level_bits, expected.level_bits, rtol=1e-5, atol=1e-4)
    stock = AutoModelForCausalLM.from_pretrained(folder(vocabulary.order)).eval()
    for words, ids in zip(WORDS, images_to_ids(vocabulary, drawn.codes), strict=True):
        prompt = torch.tensor([text_to_image_prompt(vocabulary, bundle.text_tokenizer.encode(words), "2x2")])
        legal = LogitsProcessorList([GrammarLogitsProcessor(vocabulary)])
        output = stock.generate(  # pyright: ignore[reportAttributeAccessIssue] - transformers' own types
            prompt, max_new_tokens=len(ids), do_sample=False, logits_processor=legal
        )
        assert output[0, prompt.shape[1] :].tolist() == ids.tolist()


def test_seeds(remote: TextToImagePipeline):
    first, second = (remote(WORDS, num_images=3, seed=7) for _ in range(2))
    assert all(torch.equal(*levels) for levels in zip(first.codes, second.codes, strict=True))
    other = remote(WORDS, num_images=3, seed=1000)
    assert not all(torch.equal(*levels) for levels in zip(first.codes, other.codes, strict=True))
    assert remote(WORDS[2], seed=14).images[0].tobytes() == first.images[7].tobytes()


def test_draws_follow_the_prior(remote: TextToImagePipeline):
    local = TextToImagePipeline(remote.bundle)("red apple", num_images=4000).bits
    drawn = remote("red apple", num_images=300).bits
    assert abs(float(drawn.mean() - local.mean())) < 4 * float(local.std()) / 300**0.5


def test_settings_of_levels(remote: TextToImagePipeline):
    greedy = TextToImagePipeline(remote.bundle)(WORDS, temperature=0)
    drawn = remote(WORDS, top_k=1, seed=3)
    assert all(torch.equal(*levels) for levels in zip(drawn.codes, greedy.codes, strict=True))
    drawn = remote("red apple", num_images=20, temperature=[0.0, 1.0])
    assert len(set(drawn.codes[0].flatten().tolist())) == 1
    assert remote("red apple", num_images=2, symbol=3).codes[0].flatten().tolist() == [3, 3]


def test_its_complaints(remote: TextToImagePipeline):
    assert isinstance(remote.backend, CompletionServer)
    settings = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 0}
    with pytest.raises(ServerError, match="status 400: allowed_token_ids contains out-of-vocab"):
        remote.backend.complete([1], [remote.bundle.vocabulary.vocab_size], 1, **settings)
    with pytest.raises(ServerError, match="returned 4 tokens where 60 were asked for"):  # it stops at its context
        remote.backend.complete([1] * 60, [1], 60, **settings)
    with pytest.raises(ServerError, match="has no model 'other'"):
        CompletionServer(remote.backend.url, model="other").complete([1], [1], 1, **settings)
