import pytest
import torch
from tiny_chain import shared_bundle, text_tokenizer

from pictogram.lm.code_noise import exchange_codes
from pictogram.lm.data import DocumentBatch, collate
from pictogram.lm.documents import image_to_text, text_to_image
from pictogram.lm.grammar import KIND_LEVEL


def batch(count: int = 400) -> DocumentBatch:
    vocabulary, encode = shared_bundle().vocabulary, text_tokenizer().encode
    codes = torch.randint(0, 6, (count, 5), generator=torch.Generator().manual_seed(0))
    ids = [[int(vocabulary.codes_to_ids(int(place > 0), int(code))) for place, code in enumerate(row)] for row in codes]
    words = ["red apple", "", "日本の旗"]
    documents = [
        image_to_text(vocabulary, image, encode("sad face"), "2x2")
        if row % 4 == 0
        else text_to_image(vocabulary, encode(words[row % 3]), image, "2x2")
        for row, image in enumerate(ids)
    ]
    return collate(documents, vocabulary.pad_id)


def exchanged(share: float, seed: int = 0) -> tuple[DocumentBatch, DocumentBatch]:
    whole = batch()
    return whole, exchange_codes(whole, shared_bundle().grammar, share, torch.Generator().manual_seed(seed))


def test_codes_alone_are_exchanged_and_what_is_predicted_stays():
    whole, noisy = exchanged(0.5)
    kinds = shared_bundle().grammar.slots(whole.input_ids).kind
    changed = noisy.input_ids != whole.input_ids
    assert changed.any()
    assert not changed[kinds < KIND_LEVEL].any()
    assert torch.equal(noisy.labels, whole.labels)
    assert torch.equal(whole.input_ids, batch().input_ids)


def test_documents_stay_legal_and_codes_come_from_the_batch():
    whole, noisy = exchanged(0.5)
    grammar = shared_bundle().grammar
    for row in noisy.input_ids.tolist():
        assert grammar.state_after(row).kind == "end"
    for level in range(grammar.vocabulary.num_levels):
        here = grammar.slots(whole.input_ids).kind == KIND_LEVEL + level
        assert set(noisy.input_ids[here].tolist()) <= set(whole.input_ids[here].tolist())


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3])
def test_the_share_is_the_share(share: float):
    whole, noisy = exchanged(share)
    codes = shared_bundle().grammar.slots(whole.input_ids).kind >= KIND_LEVEL
    changed = (noisy.input_ids != whole.input_ids)[codes].double().mean()
    assert float(changed) == pytest.approx(share * 5 / 6, abs=0.03)  # one in six is exchanged for its like


def test_some_documents_keep_nearly_everything():
    whole, noisy = exchanged(0.5)
    changed = (noisy.input_ids != whole.input_ids).sum(1)
    assert 20 < int((changed == 0).sum()) < 150
    assert int((changed == 5).sum()) > 10


def test_the_generator_decides():
    assert torch.equal(exchanged(0.2)[1].input_ids, exchanged(0.2)[1].input_ids)
    assert not torch.equal(exchanged(0.2)[1].input_ids, exchanged(0.2, seed=1)[1].input_ids)
