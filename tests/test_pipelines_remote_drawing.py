import pytest
import torch
from tiny_chain import shared_bundle
from tiny_servers import PriorServer, raw_server, says, silence

from pictogram.hub.errors import InputError
from pictogram.lm.image_sampler import DRAWN, ImageSampling
from pictogram.lm.order import ORDERS
from pictogram.pipelines.completion_server import CompletionServer
from pictogram.pipelines.http_json import ServerError
from pictogram.pipelines.picture_drawing import start_drawing
from pictogram.pipelines.picture_request import PictureRequest
from pictogram.pipelines.text_to_image import TextToImageOutput, TextToImagePipeline

WORDS = ["red apple", "", "日本の旗", "<|0:00001|>"]


@pytest.fixture
def serving():
    return PriorServer(shared_bundle().prior)


@pytest.fixture
def remote(serving: PriorServer):
    with serving.running() as url:
        yield TextToImagePipeline(shared_bundle(), backend=url)


@pytest.fixture
def local() -> TextToImagePipeline:
    return TextToImagePipeline(shared_bundle())


def same(first: TextToImageOutput, second: TextToImageOutput) -> bool:
    assert first.prompts == second.prompts and first.seeds == second.seeds
    torch.testing.assert_close(first.level_bits, second.level_bits, rtol=1e-5, atol=1e-4)
    return [image.tobytes() for image in first.images] == [image.tobytes() for image in second.images]


@pytest.mark.parametrize("dialect", ["token_ids", "logprobs"])
@pytest.mark.parametrize("order", ORDERS)
def test_greedy_pictures_are_those_drawn_here(order: str, dialect: str):
    bundle = shared_bundle(order)
    with PriorServer(bundle.prior, dialect=dialect).running() as url:
        drawn = TextToImagePipeline(bundle, backend=url)(WORDS, temperature=0, batch_size=3)
    assert same(drawn, TextToImagePipeline(bundle)(WORDS, temperature=0))


def test_one_request_a_level(remote: TextToImagePipeline, serving: PriorServer):
    vocabulary = remote.bundle.vocabulary
    drawn = remote("red apple", temperature=[0.5, 2.0], top_k=[2, 0], top_p=[1.0, 0.9])
    first, second = serving.requests
    words = remote.bundle.text_tokenizer.encode("red apple")
    assert first["prompt"] == [vocabulary.bos_id, *words, vocabulary.image_start_id("2x2")]
    assert second["prompt"] == [*first["prompt"], vocabulary.codes_to_ids(0, int(drawn.codes[0]))]
    assert [r["max_tokens"] for r in serving.requests] == [1, 4]
    assert [r["allowed_token_ids"] for r in serving.requests] == [vocabulary.level_ids(n).tolist() for n in (0, 1)]
    assert [(r["temperature"], r["top_k"], r["top_p"]) for r in serving.requests] == [(0.5, 2, 1.0), (2.0, -1, 0.9)]
    assert first["seed"] != second["seed"]


def test_only_the_most_likely_codes(remote: TextToImagePipeline, local: TextToImagePipeline):
    assert same(remote(WORDS, top_k=1, seed=5), local(WORDS, temperature=0, seed=5))


def test_a_seed_gives_the_same_picture_in_any_company(remote: TextToImagePipeline):
    together = remote(WORDS, num_images=2, seed=40)
    assert same(together, remote(WORDS, num_images=2, seed=40))
    assert remote(WORDS[2], seed=44).images[0].tobytes() == together.images[4].tobytes()
    assert len({tuple(torch.cat([level[n].flatten() for level in together.codes]).tolist()) for n in range(8)}) > 4


def test_drawn_codes_follow_the_prior(remote: TextToImagePipeline, local: TextToImagePipeline):
    # Whole-image codes of one prompt: the expected costs of what is drawn here and there are the entropy.
    drawn = remote("red apple", num_images=150, temperature=[1.0, 0.0])
    costs = drawn.level_bits[:, 0]
    reference = local("red apple", num_images=2000).level_bits[:, 0]
    assert abs(float(costs.mean() - reference.mean())) < 4 * float(reference.std()) / 150**0.5


def test_codes_that_are_given(remote: TextToImagePipeline, local: TextToImagePipeline, serving: PriorServer):
    assert same(remote(WORDS, symbol=3, temperature=0), local(WORDS, symbol=3, temperature=0))
    assert [request["max_tokens"] for request in serving.requests] == [4] * 4
    serving.requests.clear()
    codes = local(WORDS, seed=9).codes
    assert same(remote(WORDS, coarse_codes=codes), local(WORDS, coarse_codes=codes))
    assert serving.requests == []


def test_codes_that_are_given_here_and_there(remote: TextToImagePipeline, serving: PriorServer):
    bundle = remote.bundle
    level = bundle.vocabulary.level_ids(1).tolist()
    given = torch.tensor([[DRAWN, level[2], DRAWN, DRAWN, level[0]], [DRAWN] * 5])
    request = PictureRequest(["red apple", ""], [0, 1], "2x2", given)
    greedy = ImageSampling(temperature=0.0)
    expected = start_drawing(bundle, request, greedy).draw()
    drawn = start_drawing(bundle, request, greedy, remote.backend).draw()
    assert torch.equal(drawn.token_ids, expected.token_ids)
    torch.testing.assert_close(drawn.bits, expected.bits, rtol=1e-5, atol=1e-4)
    assert sorted(request["max_tokens"] for request in serving.requests) == [1, 1, 2, 4]
    assert given.tolist()[0][0] == DRAWN  # the caller's


def test_previews(remote: TextToImagePipeline, local: TextToImagePipeline):
    greedy = ImageSampling(temperature=0.0)
    previews = list(remote.stream(WORDS, sampling=greedy))
    assert all(same(*pair) for pair in zip(previews, local.stream(WORDS, sampling=greedy), strict=True))
    assert len(previews) == 2


def test_the_best_of_several(remote: TextToImagePipeline, serving: PriorServer):
    best = remote("red apple", num_candidates=3)
    assert best.caption_bits is not None
    assert len(serving.requests) == 6


@pytest.mark.parametrize("scale", [2.0, [1.0, 1.5], 0.0])
def test_guidance_cannot_be_had(remote: TextToImagePipeline, serving: PriorServer, scale):
    with pytest.raises(InputError, match="guidance_scale must be 1 with a backend: guidance mixes"):
        remote("red apple", guidance_scale=scale)
    assert serving.requests == []


def test_a_prompt_that_is_too_long_is_not_sent(remote: TextToImagePipeline, serving: PriorServer):
    with pytest.raises(InputError, match="but the model has 64"):
        remote("long " * 60)
    assert serving.requests == []


def test_another_model():
    wanted = r"has room for 4096 tokens, expected .* to 64: the server must run the prior of this bundle"
    with PriorServer(shared_bundle().prior, context=4096).running() as url, pytest.raises(ServerError, match=wanted):
        TextToImagePipeline(shared_bundle(), backend=url)("red apple")


def test_a_server_that_fails_once_is_asked_again(remote: TextToImagePipeline, serving: PriorServer, local):
    serving.errors = [503]
    assert same(remote("red apple", temperature=0), local("red apple", temperature=0))
    serving.errors = [500]
    with pytest.raises(ServerError, match="answered /completions with status 500: not now"):
        remote("red apple")


def test_a_failure_spares_the_server_the_rest(serving: PriorServer):
    serving.errors = [500] * 1000
    with serving.running() as url:
        backend = CompletionServer(url, num_connections=2)
        with pytest.raises(ServerError, match="status 500"):
            TextToImagePipeline(shared_bundle(), backend=backend)("red apple", num_images=60)
    assert len(serving.requests) < 20


def test_a_server_that_goes_away_in_mid_picture():
    models = says(200, b'{"data": [{"id": "prior"}]}')
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"
    with raw_server(models, lambda connection: connection.sendall(half)) as url:
        backend = CompletionServer(url, num_retries=0)
        with pytest.raises(ServerError, match="cannot be reached"):
            TextToImagePipeline(shared_bundle(), backend=backend)("red apple")
    with raw_server(models, silence) as url:
        backend = CompletionServer(url, timeout=0.3)
        with pytest.raises(ServerError, match=r"gave no answer within 0\.3 s"):
            TextToImagePipeline(shared_bundle(), backend=backend)("red apple", num_images=3)
