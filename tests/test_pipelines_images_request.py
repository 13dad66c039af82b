import json
from dataclasses import replace

import pytest
from tiny_chain import shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.image_sampler import ImageSampling
from pictogram.pipelines.images_request import ImagesRequest, RequestLimits, pixel_sizes, read_images_request

LIMITS = RequestLimits(max_images=4, max_prompt=20)

PLAIN = ImageSampling(temperature=1.0, top_k=0, top_p=1.0)
"""What a model that says nothing itself is asked for."""


def read(body: bytes | dict) -> ImagesRequest:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_images_request(content, shared_bundle(), LIMITS, "tiny")


def test_a_prompt_is_enough():
    request = read({"prompt": "red apple"})
    assert request == ImagesRequest("red apple", 1, request.seed, None, None, PLAIN)
    assert 0 <= request.seed < 2**53
    assert read({"prompt": ""}).prompt == ""


def test_everything_at_once():
    given = {
        "model": "tiny",
        "prompt": "日本 🚒",
        "n": 4,
        "size": "2x2",
        "seed": 7,
        "response_format": "b64_json",
        "user": "somebody",
        "guidance_scale": 1.5,
        "temperature": [1, 0.5],
        "top_k": [0, 3],
        "top_p": 0.9,
        "symbol": 5,
    }
    sampling = ImageSampling(temperature=(1, 0.5), top_k=(0, 3), top_p=0.9, guidance_scale=1.5)
    assert read(given) == ImagesRequest("日本 🚒", 4, 7, "2x2", 5, sampling)
    assert read(dict.fromkeys(given) | {"prompt": "x"}).sampling == PLAIN  # null is as if it were left out


def test_requests_that_go_together():
    request = read({"prompt": "red apple", "seed": 1})
    alike = [read({"prompt": "x", "n": 3, "seed": 2, "temperature": 1}), replace(request, prompt="y")]
    assert all(other.settings == request.settings for other in alike)
    others = [{"temperature": 0.5}, {"size": "2x2"}, {"symbol": 0}, {"top_p": [1, 1]}]
    assert all(read({"prompt": "x"} | other).settings != request.settings for other in others)
    assert len({request.settings, *(other.settings for other in alike)}) == 1


def test_seeds_are_random_unless_told():
    assert len({read({"prompt": "x"}).seed for _ in range(5)}) == 5


def test_sizes_by_name_and_in_pixels():
    assert pixel_sizes(shared_bundle()) == {"2x2": "16x16"}
    assert read({"prompt": "x", "size": "16x16"}).size == "2x2"
    wide = replace(shared_bundle(), vocabulary=shared_bundle().vocabulary.add_size([(1, 1), (2, 4)]))
    assert pixel_sizes(wide) == {"2x2": "16x16", "2x4": "32x16"}  # rows x columns of codes, width x height of pixels
    body = b'{"prompt": "x", "size": "32x16"}'
    assert read_images_request(body, wide, LIMITS, "tiny").size == "2x4"


def test_the_longest_prompt_fits_into_the_largest_body():
    body = json.dumps({"prompt": "🚒" * LIMITS.max_prompt}).encode()
    assert len(body) < LIMITS.max_body
    assert read(body).prompt == "🚒" * 20


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body must be JSON: "),
        (b"{", "the body must be JSON: "),
        (b"\xff", "the body must be JSON: "),
        (b"[" * 100_000, "the body must be JSON: "),
        (b"[]", "the body must be a JSON object, got list"),
        (b"null", "the body must be a JSON object, got NoneType"),
        ({}, "the field prompt is missing"),
        ({"prompt": None}, "the field prompt is missing"),
        ({"prompt": ["a", "b"]}, r'prompt must be a string, got \["a", "b"\]'),
        ({"prompt": "x" * 21}, "prompt has 21 characters, at most 20 are allowed"),
        ({"prompt": "x", "stream": True}, 'unknown field "stream"; known fields: prompt, model, n, size'),
        ({"prompt": "x", "model": "dall-e-3"}, 'model "dall-e-3" is not here; this server has "tiny"'),
        ({"prompt": "x", "response_format": "url"}, 'response_format must be b64_json, got "url"'),
        ({"prompt": "x", "n": 0}, "n must be 1 to 4, got 0"),
        ({"prompt": "x", "n": 5}, "n must be 1 to 4, got 5"),
        ({"prompt": "x", "n": 1.0}, r"n must be an integer, got 1\.0"),
        ({"prompt": "x", "n": True}, "n must be an integer, got true"),
        ({"prompt": "x", "n": 10**30}, "n must be an integer, got 1000"),
        ({"prompt": "x", "size": "17x16"}, r'size must be one of 16x16 \(or 2x2\), got "17x16"'),
        ({"prompt": "x", "size": "\ud800"}, "size must be one of 16x16"),
        ({"prompt": "x", "size": 16}, "size must be a string, got 16"),
        ({"prompt": "x", "seed": "1"}, 'seed must be an integer, got "1"'),
        ({"prompt": "x", "temperature": "hot"}, "temperature must be a number, or a list"),
        ({"prompt": "x", "temperature": [1, "hot"]}, "temperature must be a number, or a list"),
        ({"prompt": "x", "temperature": float("nan")}, "temperature must be a number, or a list .* got NaN"),
        ({"prompt": "x", "guidance_scale": float("inf")}, "guidance_scale must be a number"),
        ({"prompt": "x", "guidance_scale": 10**400}, "guidance_scale must be a number"),
        ({"prompt": "x", "top_k": 1.5}, "top_k must be an integer, or a list"),
        ({"prompt": "x", "top_p": {}}, "top_p must be a number, or a list"),
        ({"prompt": "x", "symbol": [1]}, r"symbol must be an integer, got \[1\]"),
    ],
    ids=str,
)
def test_what_is_refused(body, message: str):
    with pytest.raises(InputError, match=message) as error:
        read(body)
    assert len(str(error.value)) < 400
