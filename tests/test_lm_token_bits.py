import math
from typing import Any

import pytest
import torch
from tiny_chain import grammar, prior, shared_bundle, text_tokenizer
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    PreTrainedModel,
)

from pictogram.hub.errors import InputError
from pictogram.lm import token_bits
from pictogram.lm.data import collate
from pictogram.lm.documents import ImageSegment, NullSegment, TextSegment, build_document, images_to_ids
from pictogram.lm.grammar import KIND_TEXT, Grammar
from pictogram.lm.order import ORDERS
from pictogram.lm.token_bits import TokenScorer
from pictogram.lm.vocabulary import JointVocabulary

SHAPE: Any = dict(
    hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=64
)


def some_documents(vocabulary: JointVocabulary) -> list[list[int]]:
    """Captions before, behind and between pictures, none, and a picture after another."""
    generator = torch.Generator().manual_seed(0)
    codes = tuple(
        torch.randint(size, (2, *grid), generator=generator)
        for size, grid in zip(vocabulary.codebook_sizes, vocabulary.grids("2x2"), strict=True)
    )
    first, second = (ImageSegment(tuple(ids), "2x2") for ids in images_to_ids(vocabulary, codes).tolist())
    words, more = (TextSegment(tuple(text_tokenizer().encode(text))) for text in ("red apple", "日本 and more"))
    layouts = [[words, first], [first, more], [NullSegment(), first], [words, first, more, NullSegment(), second]]
    return [build_document(vocabulary, segments) for segments in [*layouts, [], [first, second], [words]]]


def by_hand(model: PreTrainedModel, grammar: Grammar, document: list[int]) -> dict[str, list[float]]:
    """Legal, caption and illegal bits of every token but the first, one token at a time."""
    vocabulary = grammar.vocabulary
    text = [id_ for id_ in vocabulary.text_range if vocabulary.is_text(id_)]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([document])).logits[0].double()
    state, bits = grammar.advance(grammar.start, document[0]), {"legal": [], "caption": [], "illegal": []}
    for place in range(1, len(document)):
        id_, before, row = document[place], document[place - 1], logits[place - 1]
        legal = float(row[grammar.legal_ids(state)].logsumexp(0) - row[id_])
        bits["legal"].append(legal / math.log(2))
        bits["illegal"].append((float(row.logsumexp(0) - row[id_]) - legal) / math.log(2))
        allowed = []
        if vocabulary.is_text(id_) and not vocabulary.is_text(before):
            allowed = text
        elif vocabulary.is_text(id_) or vocabulary.is_text(before):
            allowed = [*text, next(other for other in document[place:] if not vocabulary.is_text(other))]
        bits["caption"].append(float(row[allowed].logsumexp(0) - row[id_]) / math.log(2) if allowed else 0.0)
        state = grammar.advance(state, id_)
    return bits


def check(model: PreTrainedModel, grammar: Grammar) -> None:
    """Compares a batch with all documents by hand."""
    documents = some_documents(grammar.vocabulary)
    scored = TokenScorer(model, grammar).score(collate(documents, grammar.vocabulary.pad_id).input_ids)
    assert scored.illegal is not None
    for row, document in enumerate(documents):
        count = len(document) - 1
        for name, expected in by_hand(model, grammar, document).items():
            found = getattr(scored, name)[row]
            assert found[:count].tolist() == pytest.approx(expected, rel=1e-4, abs=2e-5)
            assert not found[count:].any()  # padding is free


@pytest.mark.parametrize("order", ORDERS)
def test_every_token_by_hand(order: str):
    check(shared_bundle(order).prior, grammar(order))


def test_other_architectures_and_a_head_with_a_bias():
    torch.manual_seed(0)
    size = grammar().vocabulary.vocab_size
    check(LlamaForCausalLM(LlamaConfig(vocab_size=size, initializer_range=0.4, **SHAPE)).eval(), grammar())
    with_bias = PhiForCausalLM(PhiConfig(vocab_size=size, initializer_range=0.4, **SHAPE)).eval()
    torch.nn.init.normal_(with_bias.lm_head.bias)
    check(with_bias, grammar())


def test_reserved_text_ids_and_several_sizes():
    sizes = [[(1, 1), (2, 2)], [(1, 1), (2, 4)]]
    reserved = [0, 5, 289]
    vocabulary = JointVocabulary.from_scratch(300, [6, 9], sizes, reserved_text_ids=reserved)
    check(prior(vocabulary), Grammar(vocabulary))


def test_large_vocabularies_go_in_parts(monkeypatch):
    documents = collate(some_documents(grammar().vocabulary), grammar().vocabulary.pad_id).input_ids
    scorer = TokenScorer(shared_bundle().prior, grammar())
    whole = scorer.score(documents)
    monkeypatch.setattr(token_bits, "_LOGITS_AT_ONCE", 1000)
    parts = scorer.score(documents)
    for name in ("legal", "caption", "illegal"):
        assert torch.allclose(getattr(whole, name), getattr(parts, name), atol=2e-5)


def test_what_is_not_asked_for_is_not_there():
    scored = TokenScorer(shared_bundle().prior, grammar()).score(
        torch.tensor([some_documents(grammar().vocabulary)[0]]), with_illegal=False
    )
    assert scored.illegal is None
    assert scored.legal.sum() > 0


def test_behind_a_prefix_everything_costs_the_same():
    vocabulary, scorer = grammar().vocabulary, TokenScorer(shared_bundle().prior, grammar())
    one = torch.tensor(some_documents(vocabulary)[1])  # <bos> <image> codes </image> caption <eos>
    other = torch.where(one == one[2], vocabulary.level_ids(0)[int(one[2] == vocabulary.level_ids(0)[0])], one)
    assert int((one != other).sum()) == 1
    documents = torch.stack([one, one, one, other, other, other])
    whole = scorer.score(documents)
    for count in (0, 1, 4, 7):
        cache = scorer.read_prefix(torch.stack([one, other])[:, :count], 3)
        rest = scorer.score(documents[:, count:], cache)
        for name in ("legal", "caption", "illegal"):
            assert torch.allclose(getattr(rest, name), getattr(whole, name)[:, count:], atol=2e-5)


def test_sums_of_a_row():
    bundle = shared_bundle()
    document = some_documents(bundle.vocabulary)[0]
    scored = TokenScorer(bundle.prior, bundle.grammar).score(torch.tensor([document]))
    expected = by_hand(bundle.prior, bundle.grammar, document)["legal"]
    text = sum(bits for bits, id_ in zip(expected, document[1:], strict=True) if bundle.vocabulary.is_text(id_))
    assert float(scored.of_kind(KIND_TEXT)) == pytest.approx(text, rel=1e-5)
    assert scored.of_levels(2).shape == (1, 2)
    assert scored.of_levels(2).dtype == torch.float64


def test_half_precision_is_scored_in_single():
    bundle = shared_bundle()
    half = prior(bundle.vocabulary).to(torch.bfloat16)  # pyright: ignore[reportArgumentType]
    input_ids = torch.tensor([some_documents(bundle.vocabulary)[0]])
    scored = TokenScorer(half, bundle.grammar).score(input_ids)
    assert scored.legal.dtype == torch.float32
    whole = TokenScorer(bundle.prior, bundle.grammar).score(input_ids)
    assert torch.allclose(scored.legal.sum(), whole.legal.sum(), rtol=0.1)


def test_models_that_change_their_logits_are_refused():
    def gemma(cap: float | None) -> PreTrainedModel:
        torch.manual_seed(0)
        shape = SHAPE | {"head_dim": 8, "num_key_value_heads": 1, "initializer_range": 1.0}
        size = grammar().vocabulary.vocab_size
        return Gemma2ForCausalLM(Gemma2Config(vocab_size=size, final_logit_softcapping=cap, **shape)).eval()

    for dtype in (torch.float32, torch.bfloat16):
        with pytest.raises(InputError, match="Gemma2ForCausalLM changes its logits after the output layer"):
            TokenScorer(gemma(30.0).to(dtype), grammar())  # pyright: ignore[reportArgumentType]
    check(gemma(None), grammar())
