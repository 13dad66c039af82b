import pytest
from tiny_chain import prior, shared_bundle
from tiny_servers import PriorServer, generate, raw_server, says

from pictogram.hub.errors import InputError
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.pipelines.completion_server import CompletionServer
from pictogram.pipelines.http_json import ServerError

VOCABULARY = shared_bundle().vocabulary
LEVEL = VOCABULARY.level_ids(1).tolist()
PROMPT = [VOCABULARY.bos_id, 70, VOCABULARY.image_start_id("2x2")]
SETTINGS = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "seed": 0}


def stub(**options) -> PriorServer:
    return PriorServer(shared_bundle().prior, **options)


@pytest.mark.parametrize("dialect", ["token_ids", "logprobs"])
def test_ids_in_both_dialects(dialect: str):
    serving = stub(dialect=dialect)
    with serving.running() as url:
        ids = CompletionServer(url).complete(PROMPT, LEVEL, 5, **SETTINGS)
    assert ids == generate(shared_bundle().prior, serving.requests[0])
    assert len(ids) == 5 and set(ids) <= set(LEVEL)


def test_what_is_asked():
    serving = stub()
    with serving.running() as url:
        server = CompletionServer(url)
        server.complete(PROMPT, LEVEL, 2, temperature=0.5, top_k=3, top_p=0.9, seed=2**53)
        server.complete(PROMPT, LEVEL, 1, **SETTINGS)
    first, second = serving.requests
    expected = {"model": "prior", "prompt": PROMPT, "max_tokens": 2, "allowed_token_ids": LEVEL, "seed": 2**53}
    assert {name: first[name] for name in expected} == expected
    assert (first["temperature"], first["top_k"], first["top_p"]) == (0.5, 3, 0.9)
    assert (first["min_p"], first["repetition_penalty"], first["return_token_ids"]) == (0.0, 1.0, True)
    assert (second["temperature"], second["top_k"], second["top_p"]) == (0.0, -1, 1.0)


def test_the_model_by_name():
    serving = stub(models=("prior", "adapter"))
    with serving.running() as url:
        with pytest.raises(ServerError, match=r"has no single model; name one\. Its models: prior, adapter$"):
            CompletionServer(url).complete(PROMPT, LEVEL, 1, **SETTINGS)
        with pytest.raises(ServerError, match=r"has no model 'other'\. Its models: prior, adapter$"):
            CompletionServer(url, model="other").complete(PROMPT, LEVEL, 1, **SETTINGS)
        CompletionServer(url, model="adapter").complete(PROMPT, LEVEL, 1, **SETTINGS)
    assert [request["model"] for request in serving.requests] == ["adapter"]


@pytest.mark.parametrize("listed", [b"[]", b"{}", b'{"data": 3}', b'{"data": ["a"]}', b"null"])
def test_a_list_of_models_that_is_none(listed: bytes):
    with raw_server(says(200, listed)) as url, pytest.raises(ServerError, match="did not answer /models with a list"):
        CompletionServer(url).complete(PROMPT, LEVEL, 1, **SETTINGS)


def test_the_room_of_the_model_there():
    with stub(context=64).running() as url:
        CompletionServer(url).check_context(64, 64)
        with pytest.raises(ServerError, match=r"'prior' at .* has room for 64 tokens, expected 65 to 100: the"):
            CompletionServer(url).check_context(65, 100)
        with pytest.raises(ServerError, match="has room for 64 tokens, expected 10 to 32: the server must run"):
            CompletionServer(url).check_context(10, 32)
    with stub().running() as url:
        CompletionServer(url).check_context(65, 100)  # a server that does not say


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ids: ids[:-1], "returned 3 tokens where 4 were asked for"),
        (lambda ids: [*ids, ids[0]], "returned 5 tokens where 4 were asked for"),
        (lambda ids: [], "returned 0 tokens"),
        (lambda ids: [*ids[:3], 5], "returned the id 5, which was not among those allowed"),
        (lambda ids: [*ids[:3], 10**9], "returned the id 1000000000, which"),
        (lambda ids: [*ids[:3], VOCABULARY.level_ids(0)[0].item()], "which was not among those allowed"),
        (lambda ids: [*ids[:3], -1], "returned the id -1, which"),
        (lambda ids: [*ids[:3], True], "returned no token ids"),
        (lambda ids: [*ids[:3], 1.0], "returned no token ids"),
        (lambda ids: "abcd", "returned no token ids"),
        (lambda ids: {"0": 1}, "returned no token ids"),
    ],
)
def test_ids_that_are_wrong(change, message: str):
    with stub(change=change).running() as url, pytest.raises(ServerError, match=message):
        CompletionServer(url).complete(PROMPT, LEVEL, 4, **SETTINGS)


def test_a_server_without_ids():
    wanted = "returned no token ids; it must know return_token_ids, or logprobs with return_tokens_as"
    with stub(dialect="neither").running() as url, pytest.raises(ServerError, match=wanted):
        CompletionServer(url).complete(PROMPT, LEVEL, 4, **SETTINGS)


@pytest.mark.parametrize(
    "answer",
    [
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{}, {}]}',
        b'{"choices": [3]}',
        b'{"choices": [{"logprobs": {"tokens": ["<|1:00003|>"]}}]}',
        b'{"choices": [{"logprobs": {"tokens": ["token_id:x"]}}]}',
        b'{"choices": [{"logprobs": {"tokens": [3]}}]}',
    ],
)
def test_an_answer_of_another_form(answer: bytes):
    models = says(200, b'{"data": [{"id": "prior"}]}')
    with raw_server(models, says(200, answer)) as url, pytest.raises(ServerError, match="returned no token ids"):
        CompletionServer(url).complete(PROMPT, LEVEL, 1, **SETTINGS)


def test_a_model_with_a_smaller_vocabulary():
    small = JointVocabulary.from_scratch(100, [6, 9], [((1, 1), (2, 2))])
    wanted = r"status 400: allowed_token_ids contains out-of-vocab token id!$"
    with PriorServer(prior(small)).running() as url, pytest.raises(ServerError, match=wanted):
        CompletionServer(url).complete(PROMPT, LEVEL, 1, **SETTINGS)


def test_connections():
    with pytest.raises(InputError, match="num_connections must be at least 1, got 0"):
        CompletionServer("http://h/v1", num_connections=0)
    with pytest.raises(InputError, match="a server's URL is expected"):
        CompletionServer("h/v1")
