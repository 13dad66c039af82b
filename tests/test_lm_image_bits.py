import json
import math
from dataclasses import fields, replace

import pytest
import torch
from tiny_chain import CAPTIONS, bundle, codes_folder, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.lm import image_bits
from pictogram.lm.bundle import Bundle
from pictogram.lm.documents import image_to_text, images_to_ids, text_to_image, unconditional
from pictogram.lm.image_bits import DOCUMENT_KINDS, ImageBits, measure_images
from pictogram.lm.order import ORDERS
from pictogram.lm.rate import DocumentBits, score_documents
from pictogram.lm.token_bits import TokenScorer
from pictogram.tokenizer.codes_dataset import CodesDataset, load_codes

ROWS = [9, 0, 3, 13, 6, 15, 5]  # 5 and 13 have no words


@pytest.fixture
def codes() -> CodesDataset:
    return load_codes(codes_folder())


def same(found: ImageBits, expected: ImageBits) -> bool:
    """Up to rounding."""
    pairs = [(getattr(found, field.name), getattr(expected, field.name)) for field in fields(ImageBits)]
    return all(torch.allclose(a.double(), b.double(), rtol=1e-5, atol=1e-5, equal_nan=True) for a, b in pairs)


def score(bundle: Bundle, documents: list[list[int]]) -> DocumentBits:
    return score_documents(TokenScorer(bundle.prior, bundle.grammar), documents)


@pytest.mark.parametrize("order", ORDERS)
def test_every_figure_is_of_its_document(codes, order: str):
    bundle, vocabulary = shared_bundle(order), shared_bundle(order).vocabulary
    bits = measure_images(bundle, codes, ROWS)
    for place, row in enumerate(ROWS):
        words = codes.captions(row)[0]
        text, image = bundle.text_tokenizer.encode(words), images_to_ids(vocabulary, codes.codes([row]))[0]
        alone = score(bundle, [unconditional(vocabulary, image, "2x2")])
        assert torch.allclose(bits.codes[place], alone.levels[0], rtol=1e-5)
        assert float(bits.illegal[place, 2]) == pytest.approx(float(alone.illegal), rel=1e-4)
        assert float(bits.layout[place, 2]) == pytest.approx(float(alone.control), rel=1e-4)
        if words:
            documents = [text_to_image(vocabulary, text, image, "2x2"), image_to_text(vocabulary, image, text, "2x2")]
            both = score(bundle, documents)
            assert torch.allclose(bits.codes_given_caption[place], both.levels[0], rtol=1e-5)
            assert [float(bits.caption[place]), float(bits.caption_given_codes[place])] == pytest.approx(
                both.caption.tolist(), rel=1e-5
            )
            assert bits.illegal[place, :2].tolist() == pytest.approx(both.illegal.tolist(), rel=1e-4)
            assert float(bits.caption_bytes[place]) == len(words.encode())


def test_pictures_without_words_have_no_figures_of_words(codes):
    bits = measure_images(shared_bundle(), codes, range(16))
    without = torch.tensor([not codes.captions(row)[0] for row in range(16)])
    assert int(without.sum()) == 2
    for values in (bits.caption, bits.caption_given_codes, bits.caption_bytes, bits.codes_given_caption[:, 1]):
        assert torch.equal(values.isnan(), without)
    assert not bits.codes.isnan().any() and not bits.too_long.any()
    assert torch.equal(bits.illegal.isnan(), torch.stack([without, without, ~without & without], 1))


def test_what_the_context_cannot_hold_is_marked(codes):
    longest = max(len(shared_bundle().text_tokenizer.encode(caption)) for caption in CAPTIONS)
    some = bundle(max_length=longest + 8)  # <bos> <image> 5 codes </image> <eos>: one too few
    bits = measure_images(some, codes, range(16))
    assert int(bits.too_long.sum()) == 2
    assert torch.equal(bits.caption_bytes.isnan(), bits.too_long | torch.tensor([row % 8 == 5 for row in range(16)]))
    assert not measure_images(bundle(max_length=longest + 9), codes, range(16)).too_long.any()
    with pytest.raises(InputError, match="a picture takes 10 tokens, but the prior reads 9"):
        measure_images(bundle(max_length=9), codes, range(16))


def test_neither_batches_nor_windows_matter(codes, monkeypatch):
    whole = measure_images(shared_bundle(), codes, ROWS)
    assert same(measure_images(shared_bundle(), codes, ROWS, batch_size=1), whole)
    done: list[int] = []
    monkeypatch.setattr(image_bits, "_ROWS_AT_ONCE", 3)
    assert same(measure_images(shared_bundle(), codes, ROWS, batch_size=2, progress=done.append), whole)
    assert sum(done) == len(DOCUMENT_KINDS) * len(ROWS)


def test_the_same_bytes_the_next_time(codes):
    first, second = (measure_images(shared_bundle(), codes, ROWS) for _ in range(2))
    for field in fields(ImageBits):
        assert torch.equal(*(getattr(bits, field.name).nan_to_num(nan=-1.0) for bits in (first, second)))


def test_differences_are_picture_by_picture(codes):
    bits = measure_images(shared_bundle(), codes, ROWS)
    other = replace(bits, codes=bits.codes - 1, caption=bits.caption + 2)
    difference = bits.minus(other)
    assert difference.codes == pytest.approx(torch.ones(len(ROWS), 2))
    assert difference.caption[~difference.caption.isnan()] == pytest.approx(torch.full((5,), -2.0))
    assert torch.equal(difference.caption_bytes.nan_to_num(), bits.caption_bytes.nan_to_num())
    assert math.isnan(float(difference.caption[3]))


def test_of_several_captions_the_first_counts(codes):
    def listed(row: dict) -> dict:
        return {"caption": json.dumps([row["caption"], "other words"])}

    several = codes.dataset.map(listed)
    several = several.map(lambda row: {"caption": json.loads(row["caption"])}, remove_columns="caption")
    bits = measure_images(shared_bundle(), replace(codes, dataset=several), [0, 1])
    assert same(bits, measure_images(shared_bundle(), codes, [0, 1]))


def test_pictures_of_several_sizes_are_refused(codes):
    several = replace(codes, manifest=replace(codes.manifest, grids=None))
    with pytest.raises(InputError, match="codes of pictures of one size"):
        measure_images(shared_bundle(), several, [0])
