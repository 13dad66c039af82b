import itertools
import math
from typing import Any

import pytest
import torch
from tiny_chain import bundle, codes_folder, image_tokenizer, processor, shared_bundle, text_tokenizer
from transformers import DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.caption_classifier import METHODS, classify_captions
from pictogram.lm.documents import image_to_text, images_to_ids, text_to_image
from pictogram.lm.order import ORDERS, ImageCodes
from pictogram.lm.rate import score_documents
from pictogram.lm.token_bits import TokenScorer
from pictogram.lm.vocabulary import JointVocabulary
from pictogram.tokenizer.codes_dataset import load_codes

CAPTIONS = ["red apple", "a longer caption with many words", "日本の旗", "a <bos> </image>", "x"]


@pytest.fixture
def codes() -> ImageCodes:
    return load_codes(codes_folder()).codes(range(7))


def brute_force(bundle: Bundle, codes: ImageCodes, captions: list[str], method: str) -> torch.Tensor:
    """(B, C) log2 posteriors under a uniform prior: one whole document per pair."""
    vocabulary, scorer = bundle.vocabulary, TokenScorer(bundle.prior, bundle.grammar)
    images = images_to_ids(vocabulary, codes)
    texts = [bundle.text_tokenizer.encode(caption) for caption in captions]
    joint = torch.empty(len(images), len(captions), dtype=torch.float64)
    for row, column in itertools.product(range(len(images)), range(len(captions))):
        if method == "codes":
            document = text_to_image(vocabulary, texts[column], images[row], "2x2")
            joint[row, column] = -score_documents(scorer, [document]).levels.sum()
        else:
            document = image_to_text(vocabulary, images[row], texts[column], "2x2")
            joint[row, column] = -score_documents(scorer, [document]).caption.sum()
    return joint - torch.log2(torch.exp2(joint).sum(1, keepdim=True))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("method", METHODS)
def test_against_brute_force(codes, order: str, method: str):
    found = classify_captions(shared_bundle(order), codes, CAPTIONS, method=method)
    expected = brute_force(shared_bundle(order), codes, CAPTIONS, method)
    assert torch.allclose(found.log2_posterior, expected, atol=1e-4)
    assert torch.equal(found.predicted, expected.argmax(1))
    assert torch.allclose(torch.exp2(found.log2_posterior).sum(1), torch.ones(7, dtype=torch.float64))
    assert (found.captions, found.method, found.bits.shape) == (CAPTIONS, method, (7, 5))


@pytest.mark.parametrize("method", METHODS)
def test_neither_batches_nor_the_order_of_captions_matter(codes, method: str):
    whole = classify_captions(shared_bundle(), codes, CAPTIONS, method=method).log2_posterior
    for batch_size in (1, 2, 4, 11, 1000):
        done: list[int] = []
        parts = classify_captions(
            shared_bundle(), codes, CAPTIONS, method=method, batch_size=batch_size, progress=done.append
        )
        assert torch.allclose(parts.log2_posterior, whole, atol=1e-4)
        assert sum(done) == 7 * 5
    order = [3, 0, 4, 1, 2]
    permuted = classify_captions(shared_bundle(), codes, [CAPTIONS[place] for place in order], method=method)
    assert torch.allclose(permuted.log2_posterior, whole[:, order], atol=1e-4)


def test_pictures_do_not_know_of_each_other(codes):
    whole = classify_captions(shared_bundle(), codes, CAPTIONS).log2_posterior
    alone = classify_captions(shared_bundle(), tuple(level[4:5] for level in codes), CAPTIONS).log2_posterior
    assert torch.allclose(whole[4:5], alone, atol=1e-4)


def test_priors_of_captions(codes):
    likelihood = classify_captions(shared_bundle(), codes, CAPTIONS)
    weights = [1, 2, 3.5, 0.5, 10]
    weighted = classify_captions(shared_bundle(), codes, CAPTIONS, prior=weights)
    joint = -likelihood.bits + torch.tensor(weights).log2()
    assert torch.allclose(weighted.log2_posterior, joint - torch.exp2(joint).sum(1, keepdim=True).log2(), atol=1e-6)
    own = classify_captions(shared_bundle(), codes, CAPTIONS, prior="model")
    images = images_to_ids(shared_bundle().vocabulary, codes)
    texts = [text_tokenizer().encode(caption) for caption in CAPTIONS]
    documents = [text_to_image(shared_bundle().vocabulary, text, images[0], "2x2") for text in texts]
    alone = score_documents(TokenScorer(shared_bundle().prior, shared_bundle().grammar), documents).caption
    assert torch.allclose(own.log2_prior, -alone, atol=1e-4)


class CountingModel(PreTrainedModel):
    """A causal LM without layers: the logits of the next token are the sum of one row of a table per token before."""

    config_class = PreTrainedConfig
    base_model_prefix = "counter"

    def __init__(self, table: torch.Tensor):
        options: Any = {"max_position_embeddings": 64, "num_hidden_layers": 1}
        super().__init__(PreTrainedConfig(**options))
        self.counter = _Counter(len(table))
        self.head = torch.nn.Linear(len(table), len(table), bias=False)
        self.head.weight = torch.nn.Parameter(table.T.contiguous())

    def get_output_embeddings(self) -> torch.nn.Module:
        return self.head

    def forward(self, input_ids: torch.Tensor, **options) -> CausalLMOutputWithPast:
        return CausalLMOutputWithPast(logits=self.head(self.counter(input_ids, **options).last_hidden_state))


class _Counter(torch.nn.Module):
    def __init__(self, vocab_size: int):
        super().__init__()
        self.vocab_size = vocab_size

    def forward(self, input_ids: torch.Tensor, past_key_values=None, use_cache=True) -> BaseModelOutputWithPast:
        seen = torch.nn.functional.one_hot(input_ids, self.vocab_size).float()[:, None]
        cache = past_key_values or DynamicCache()
        seen, _ = cache.update(seen, seen, 0)
        counts = seen[:, 0].cumsum(1)[:, -input_ids.shape[1] :]
        return BaseModelOutputWithPast(last_hidden_state=counts)


LIKELIHOOD = torch.tensor([[0.5, 0.2, 0.1, 0.1, 0.05, 0.05], [0.1, 0.6, 0.1, 0.1, 0.05, 0.05], [1 / 6] * 6])
PRIOR = torch.tensor([0.2, 0.3, 0.5])
WORDS = ["a", "b", "c"]


def counting_bundle() -> Bundle:
    """Captions of one letter with known chances; the code of level 0 depends on the letter, the others on nothing."""
    tokenizer, text = image_tokenizer(), text_tokenizer()
    vocabulary = JointVocabulary.from_scratch(text.vocab_size, [6, 9], [((1, 1), (2, 2))])
    letters = [text.encode(word) for word in WORDS]
    assert all(len(letter) == 1 for letter in letters)
    table = torch.zeros(vocabulary.vocab_size, vocabulary.vocab_size)
    table[vocabulary.bos_id, list(vocabulary.text_range)] = -50
    for (letter,), chance, row in zip(letters, PRIOR, LIKELIHOOD, strict=True):
        table[vocabulary.bos_id, letter] = chance.log()
        table[letter, vocabulary.level_ids(0)] = row.log()
        table[letter, [vocabulary.image_start_id("2x2"), vocabulary.eos_id]] = 40  # then the caption ends
    # Behind a picture the letter is as likely as the code says: log p(letter | code), by Bayes' rule.
    joint = LIKELIHOOD * PRIOR[:, None]
    for code, id_ in enumerate(vocabulary.level_ids(0).tolist()):
        for (letter,), chance in zip(letters, joint[:, code] / joint[:, code].sum(), strict=True):
            table[id_, letter] = chance.log() - table[vocabulary.bos_id, letter]
    return Bundle(CountingModel(table).eval(), vocabulary, text, tokenizer, processor())


def test_a_model_whose_posterior_is_known():
    first = torch.arange(6)[:, None, None]
    codes = (first, torch.arange(24).view(6, 2, 2) % 9)
    joint = (LIKELIHOOD * PRIOR[:, None]).T.double()  # (codes, captions)
    expected = {"uniform": LIKELIHOOD.T.double(), "model": joint}
    some = counting_bundle()
    for prior, weights in expected.items():
        found = classify_captions(some, codes, WORDS, prior=prior)
        assert torch.allclose(torch.exp2(found.log2_posterior), weights / weights.sum(1, keepdim=True), atol=1e-5)
    direct = classify_captions(some, codes, WORDS, method="caption")
    assert torch.allclose(torch.exp2(direct.log2_posterior), joint / joint.sum(1, keepdim=True), atol=1e-5)
    assert torch.allclose(direct.bits, -(joint / joint.sum(1, keepdim=True)).log2(), atol=1e-4)
    counted = classify_captions(some, codes, WORDS, prior=[2, 3, 5])
    assert torch.allclose(torch.exp2(counted.log2_posterior), joint / joint.sum(1, keepdim=True), atol=1e-5)
    assert classify_captions(some, codes, WORDS).bits[:, 2] == pytest.approx(
        torch.full((6,), math.log2(6) + 4 * math.log2(9))
    )


def test_mistakes(codes):
    some = shared_bundle()
    for captions, options, words in [
        ([], {}, "at least one picture and one caption"),
        (["a", ""], {}, "different and not empty"),
        (["a", "b", "a"], {}, "different and not empty"),
        (["a"], {"method": "words"}, "method must be one of codes, caption, got 'words'"),
        (["a"], {"prior": "flat"}, "prior must be one of uniform, model, or a weight per caption, got 'flat'"),
        (["a"], {"prior": [1, 2]}, "needs 1, one per caption"),
        (["a", "b"], {"prior": [1, 0]}, "each above 0"),
        (["a", "b"], {"prior": [1, math.nan]}, "each above 0"),
        (["a"], {"prior": "model", "method": "caption"}, "has its prior inside"),
        (["many " * 30], {}, "tokens, but the prior reads 64"),
    ]:
        with pytest.raises(InputError, match=words):
            classify_captions(some, codes, captions, **options)
    with pytest.raises(InputError, match="at least one picture"):
        classify_captions(some, tuple(level[:0] for level in codes), ["a"])
    with pytest.raises(InputError, match="are not in the vocabulary"):
        classify_captions(some, (codes[0], codes[1][:, :1]), ["a"])


def test_the_longest_caption_that_fits(codes):
    length = len(text_tokenizer().encode(CAPTIONS[1]))
    some = bundle(max_length=length + 9)
    assert classify_captions(some, codes, CAPTIONS).bits.shape == (7, 5)
    with pytest.raises(InputError, match="the longest caption and a picture take"):
        classify_captions(bundle(max_length=length + 8), codes, CAPTIONS)
