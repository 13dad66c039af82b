"""Bayes' rule against the enumeration of whole documents by the stock model."""

import math
from typing import Any

import pytest
import torch
from tiny_chain import prior, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm.documents import text_to_image_prompt
from pictogram.lm.drawing import SamplingConfig
from pictogram.lm.first_code import FirstCodes, score_first_codes
from pictogram.lm.image_sampler import ImageDrawing, ImageSampling
from pictogram.lm.order import ORDERS
from pictogram.lm.sampler import uniforms

NUM_FIRST = 6


def setting(order: str, words: str = "red apple"):
    bundle = shared_bundle(order)
    prompt = text_to_image_prompt(bundle.vocabulary, bundle.text_tokenizer.encode(words), "2x2")
    following = bundle.vocabulary.codes_to_ids(1, torch.tensor([3, 0, 8, 3]))
    return prior(bundle.vocabulary).double(), bundle.vocabulary, prompt, following


@torch.no_grad()
def enumerated(model, vocabulary, prompt: list[int], following: torch.Tensor) -> torch.Tensor:
    """(K,) ln p(code, following | prompt), from the logits of one whole document per code."""
    scores = []
    for first in vocabulary.level_ids(0).tolist():
        ids = [first, *following.tolist()]
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 :]
        levels = [0] + [1] * len(following)
        terms = [
            torch.log_softmax(logits[place, vocabulary.level_ids(level)], 0)[
                (vocabulary.level_ids(level) == id_).nonzero().item()
            ]
            for place, (level, id_) in enumerate(zip(levels, ids, strict=True))
        ]
        scores.append(torch.stack(terms).sum())
    return torch.stack(scores)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("count", [0, 1, 4])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_scores_are_those_of_whole_documents(order: str, count: int, batch_size: int):
    model, vocabulary, prompt, following = setting(order)
    scores = score_first_codes(model, vocabulary, "2x2", prompt, following[:count], batch_size)
    assert scores.shape == (NUM_FIRST,) and scores.dtype == torch.float64
    torch.testing.assert_close(scores, enumerated(model, vocabulary, prompt, following[:count]), rtol=1e-6, atol=1e-6)


def test_codes_are_drawn_as_often_as_bayes_says():
    model, vocabulary, prompt, following = setting("level")
    first = FirstCodes(vocabulary.level_ids(0), score_first_codes(model, vocabulary, "2x2", prompt, following)[None])
    expected = enumerated(model, vocabulary, prompt, following).softmax(0)
    assert float(expected.max()) < 0.99, "a sure thing would prove nothing"
    count = 10_000
    even = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn = first.draw(torch.zeros(count, dtype=torch.int64), even, SamplingConfig())
    shares = torch.stack([(drawn == id_).sum() for id_ in vocabulary.level_ids(0)]) / count
    assert float((shares - expected).abs().max()) <= 1 / count


def test_with_nothing_that_follows_it_is_the_plain_draw():
    model, vocabulary, prompt, following = setting("level")
    scores = score_first_codes(model, vocabulary, "2x2", prompt, following[:0])
    first = FirstCodes(vocabulary.level_ids(0), scores[None])
    draws = uniforms(range(50), 5)
    each: list[dict[str, Any]] = [{}, {"temperature": 0.5}, {"top_k": 2}, {"temperature": 0}]
    for options in each:
        plain = ImageDrawing(model, vocabulary, "2x2", [prompt] * 50, draws, ImageSampling(**options)).draw(1).token_ids
        drawn = first.draw(torch.zeros(50, dtype=torch.int64), draws[:, 0], SamplingConfig(**options))
        assert torch.equal(drawn, plain[:, 0])


def test_guidance_works_on_what_bayes_says():
    scores = torch.tensor([[0.0, -1.0, -2.0]], dtype=torch.float64)
    without = torch.tensor([[0.0, -9.0, -2.0]], dtype=torch.float64)
    greedy = {"temperature": 0, "guidance_scale": 2.0}  # 0, 7 and -2
    drawn = FirstCodes(torch.tensor([5, 6, 7]), scores, without).draw(
        torch.tensor([0]), torch.tensor([0.1]), SamplingConfig(**greedy)
    )
    assert drawn.tolist() == [6]


def test_entropy_is_in_bits_whatever_the_scale():
    scores = torch.tensor([[-50.0] * 4, [-3.0, -3.0, -math.inf, -math.inf]], dtype=torch.float64)
    assert FirstCodes(torch.arange(4), scores).entropy.tolist() == pytest.approx([2.0, 1.0])


def test_a_prompt_that_is_too_long_is_refused():
    model, vocabulary, prompt, following = setting("level", "long " * 60)
    with pytest.raises(InputError, match="but the model has 64"):
        score_first_codes(model, vocabulary, "2x2", prompt, following)
