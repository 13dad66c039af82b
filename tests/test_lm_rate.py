import math

import pytest
import torch
from tiny_chain import output_weights, prior, shared_bundle, text_tokenizer

from pictogram.hub.errors import InputError
from pictogram.lm.documents import build_document, image_to_text, images_to_ids, text_to_image, unconditional
from pictogram.lm.grammar import KIND_CONTROL, KIND_LEVEL, KIND_TEXT
from pictogram.lm.order import ORDERS
from pictogram.lm.rate import TOKENS_AT_ONCE, length_batches, measure_rate, score_documents
from pictogram.lm.token_bits import TokenScorer

WORDS = ["red apple", "a longer caption with many words", "", "日本の旗", "x"]


def some_documents(order: str = "level") -> list[list[int]]:
    vocabulary = shared_bundle(order).vocabulary
    generator = torch.Generator().manual_seed(0)
    codes = tuple(
        torch.randint(size, (len(WORDS), *grid), generator=generator)
        for size, grid in zip(vocabulary.codebook_sizes, vocabulary.grids("2x2"), strict=True)
    )
    images = images_to_ids(vocabulary, codes)
    texts = [text_tokenizer().encode(words) for words in WORDS]
    return [
        *(text_to_image(vocabulary, text, image, "2x2") for text, image in zip(texts, images, strict=True)),
        *(image_to_text(vocabulary, image, text, "2x2") for text, image in zip(texts, images, strict=True)),
        unconditional(vocabulary, images[0], "2x2"),
    ]


@pytest.mark.parametrize("order", ORDERS)
def test_against_a_computation_by_hand(order: str):
    bundle, all_documents = shared_bundle(order), some_documents(order)
    grammar, vocabulary = bundle.grammar, bundle.vocabulary
    bits, stock_bits = {KIND_TEXT: 0.0, KIND_CONTROL: 0.0, KIND_LEVEL: 0.0, KIND_LEVEL + 1: 0.0}, 0.0
    for document in all_documents:
        state = grammar.advance(grammar.start, document[0])
        with torch.no_grad():
            logits = bundle.prior(torch.tensor([document])).logits[0].double()
        for place, id_ in enumerate(document[1:]):
            legal = grammar.legal_ids(state)
            nats = logits[place, legal].logsumexp(0) - logits[place, id_]
            kind = next((KIND_LEVEL + level for level in range(2) if id_ in vocabulary.level_ids(level)), KIND_CONTROL)
            bits[KIND_TEXT if vocabulary.is_text(id_) else kind] += float(nats) / math.log(2)
            stock_bits += float(logits[place].logsumexp(0) - logits[place, id_]) / math.log(2)
            state = grammar.advance(state, id_)
    count = len(all_documents)
    rate = measure_rate(bundle.prior, grammar, all_documents)
    assert rate.num_documents == count
    assert rate.text_bits == pytest.approx(bits[KIND_TEXT] / count, rel=1e-5)
    assert rate.control_bits == pytest.approx(bits[KIND_CONTROL] / count, rel=1e-5)
    assert rate.level_bits == pytest.approx([bits[KIND_LEVEL] / count, bits[KIND_LEVEL + 1] / count], rel=1e-5)
    assert rate.image_bits == pytest.approx(sum(rate.level_bits))
    total = rate.text_bits + rate.image_bits + rate.control_bits
    assert total + rate.illegal_bits == pytest.approx(stock_bits / count, rel=1e-5)
    assert rate.to_dict()["image_bits"] == rate.image_bits


def test_no_figure_depends_on_the_batch_size():
    bundle, all_documents = shared_bundle(), some_documents()
    together, alone = (
        measure_rate(bundle.prior, bundle.grammar, all_documents, batch_size=batch_size) for batch_size in (32, 1)
    )
    for name, value in together.to_dict().items():
        assert value == pytest.approx(alone.to_dict()[name], rel=1e-6)


def test_a_uniform_model_spends_the_logarithm_of_the_choices():
    bundle = shared_bundle()
    model = prior(bundle.vocabulary)
    with torch.no_grad():
        output_weights(model).zero_()
    document = some_documents()[0]
    rate = measure_rate(model, bundle.grammar, [document])
    num_text, vocab_size = len(bundle.vocabulary.text_range), bundle.vocabulary.vocab_size
    free = math.log2(num_text + 3)  # text, an image, <null> or <eos>
    assert rate.level_bits == pytest.approx([math.log2(6), 4 * math.log2(9)])
    assert rate.text_bits == pytest.approx(len(text_tokenizer().encode(WORDS[0])) * free)
    assert rate.control_bits == pytest.approx(2 * free)  # <image> and <eos>; </image> has no choice
    assert rate.illegal_bits == pytest.approx(
        (len(document) - 1) * math.log2(vocab_size) - rate.text_bits - rate.image_bits - rate.control_bits
    )


def test_documents_keep_their_order_and_their_parts():
    bundle, all_documents = shared_bundle(), some_documents()
    scorer = TokenScorer(bundle.prior, bundle.grammar)
    done: list[int] = []
    together = score_documents(scorer, all_documents, batch_size=4, progress=done.append)
    assert sum(done) == len(all_documents) and max(done) == 4
    for row, document in enumerate(all_documents):
        alone = score_documents(scorer, [document])
        for name in ("text", "control", "levels", "caption", "illegal", "layout"):
            assert torch.allclose(getattr(together, name)[row], getattr(alone, name)[0], rtol=1e-5, atol=1e-4)
    rate = measure_rate(bundle.prior, bundle.grammar, all_documents)
    assert rate.text_bits + rate.control_bits == pytest.approx(float((together.caption + together.layout).mean()))


def test_captions_do_not_pay_for_the_choice_of_a_layout():
    bundle = shared_bundle()
    model, documents = prior(bundle.vocabulary), some_documents()
    with torch.no_grad():
        output_weights(model).zero_()
    bits = score_documents(TokenScorer(model, bundle.grammar), documents)
    num_text = len(bundle.vocabulary.text_range)
    free = math.log2(num_text + 3)  # text, an image, <null> or <eos>
    for row, words in enumerate([*WORDS, *WORDS, ""]):
        length = len(text_tokenizer().encode(words))
        # The first piece is one of the texts, the others and the end one of the texts or the end.
        expected = math.log2(num_text) + length * math.log2(num_text + 1) if length else 0
        assert float(bits.caption[row]) == pytest.approx(expected)
        # Pieces and <image> and <eos>, or <null> or <image> and <eos>, by the grammar.
        assert float(bits.caption[row] + bits.layout[row]) == pytest.approx((length + 2) * free)


def test_batches_have_rows_of_like_length_and_few_tokens():
    lengths = torch.randint(1, 900, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    batches = list(length_batches(lengths))
    assert sorted(row for batch in batches for row in batch) == list(range(200))
    assert [lengths[row] for batch in batches for row in batch] == sorted(lengths)
    assert all(max(lengths[row] for row in batch) * len(batch) <= TOKENS_AT_ONCE for batch in batches)
    assert [len(batch) for batch in length_batches(lengths, 60)] == [60, 60, 60, 20]
    assert list(length_batches([5 * TOKENS_AT_ONCE, 3 * TOKENS_AT_ONCE])) == [[1], [0]]


def test_nothing_and_broken_documents_are_refused():
    bundle = shared_bundle()
    with pytest.raises(InputError, match="at least one document"):
        measure_rate(bundle.prior, bundle.grammar, [])
    document = build_document(bundle.vocabulary, [])
    with pytest.raises(InputError, match="position 2"):
        measure_rate(bundle.prior, bundle.grammar, [[*document, document[0]]])
