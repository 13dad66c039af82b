import math

import pytest
import torch
from tiny_chain import prior, shared_bundle, text_tokenizer

from pictogram.lm.costs import cost_metrics, cost_sums, legal_logits, token_nats
from pictogram.lm.data import collate
from pictogram.lm.documents import image_to_text, text_to_image
from pictogram.lm.rate import measure_rate


def documents() -> list[list[int]]:
    vocabulary, encode = shared_bundle().vocabulary, text_tokenizer().encode
    codes = torch.randint(0, 6, (4, 5), generator=torch.Generator().manual_seed(0))
    ids = [[int(vocabulary.codes_to_ids(int(place > 0), int(code))) for place, code in enumerate(row)] for row in codes]
    pairs = list(zip(["red apple", "sad face", "", "日本の旗"], ids, strict=True))
    drawn = [text_to_image(vocabulary, encode(words), image, "2x2") for words, image in pairs]
    return drawn + [image_to_text(vocabulary, image, encode(words), "2x2") for words, image in pairs]


def test_among_the_legal_ids_it_is_the_rate():
    bundle = shared_bundle()
    batch = collate(documents(), bundle.vocabulary.pad_id)
    with torch.no_grad():
        logits = prior(bundle.vocabulary)(batch.input_ids).logits
    sums = cost_sums(
        batch, token_nats(legal_logits(logits, batch.input_ids, bundle.grammar), batch.labels), bundle.grammar
    )
    rate = measure_rate(prior(bundle.vocabulary), bundle.grammar, documents())
    metrics = cost_metrics(sums.tolist())
    assert [metrics["level_0_bits"], metrics["level_1_bits"]] == pytest.approx(rate.level_bits, rel=1e-4)
    assert metrics["text_bits"] * 6 == pytest.approx(rate.text_bits * 8, rel=1e-4)  # 6 of 8 documents have a caption
    total = rate.text_bits + rate.image_bits + rate.control_bits
    assert metrics["bits_per_document"] == pytest.approx(total, rel=1e-4)


def test_parts_of_a_batch_add_up_and_padding_is_free():
    bundle = shared_bundle()
    everything = collate(documents(), bundle.vocabulary.pad_id)
    model = prior(bundle.vocabulary)
    sums = []
    for group in (documents(), documents()[:3], documents()[3:]):
        batch = collate(group, bundle.vocabulary.pad_id)
        with torch.no_grad():
            nats = token_nats(model(batch.input_ids).logits, batch.labels)
        assert float(nats[batch.labels[:, 1:] < 0].abs().sum()) == 0
        sums.append(cost_sums(batch, nats, bundle.grammar))
    torch.testing.assert_close(sums[0], sums[1] + sums[2], rtol=1e-5, atol=1e-5)
    loss = cost_metrics(sums[0].tolist())["loss"]
    with torch.no_grad():
        expected = model(everything.input_ids, labels=everything.labels).loss
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert sums[0][:-3].sum() * math.log(2) / everything.num_targets == pytest.approx(loss)
