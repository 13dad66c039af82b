from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from datasets import Dataset
from tiny_chain import codes_folder, shared_bundle, text_tokenizer

from pictogram.hub.errors import InputError
from pictogram.lm.code_documents import CodeDocuments, DocumentMix
from pictogram.lm.data import IGNORED, DocumentBatches, collate
from pictogram.lm.documents import image_to_text, images_to_ids, parse_document, text_to_image, unconditional
from pictogram.lm.order import ORDERS
from pictogram.tokenizer.batches import process_slice
from pictogram.tokenizer.codes_dataset import CodesDataset, load_codes

CODES = load_codes(codes_folder())


def batches(batch_size: int = 4, order: str = "level", codes: CodesDataset = CODES, **mix: Any) -> DocumentBatches:
    vocabulary = shared_bundle(order).vocabulary
    source = CodeDocuments(codes, text_tokenizer(), vocabulary, mix=DocumentMix(**mix), max_length=64)
    return DocumentBatches(source, pad_id=vocabulary.pad_id, batch_size=batch_size, seed=3)


def documents(source: DocumentBatches, steps: range) -> list[list[int]]:
    """The documents of some batches, without padding."""
    rows = []
    for step in steps:
        batch = source.batch(step)
        rows += [row[labels != IGNORED].tolist() for row, labels in zip(batch.input_ids, batch.labels, strict=True)]
    return rows


def three_layouts(order: str) -> list[dict[tuple[int, ...], int]]:
    """Every document that the rows can give, per layout, as the builders of `lm/documents.py` make it -> row."""
    vocabulary = shared_bundle(order).vocabulary
    ids = images_to_ids(vocabulary, CODES.codes(range(len(CODES))))
    layouts: list[dict[tuple[int, ...], int]] = [{}, {}, {}]
    for row in range(len(CODES)):
        caption = text_tokenizer().encode(CODES.captions(row)[0])
        layouts[0][tuple(text_to_image(vocabulary, caption, ids[row], "2x2"))] = row
        layouts[1][tuple(image_to_text(vocabulary, ids[row], caption, "2x2"))] = row
        layouts[2][tuple(unconditional(vocabulary, ids[row], "2x2"))] = row
    return layouts


def with_captions(captions: list[list[str]]) -> CodesDataset:
    stored: Any = CODES.dataset.remove_columns("caption").select(range(len(captions))).to_dict()
    return CodesDataset(Dataset.from_dict({**stored, "caption": captions}), CODES.manifest, CODES.split)


@pytest.mark.parametrize("order", ORDERS)
def test_documents_are_those_of_the_builders(order: str):
    source, (words_first, picture_first, no_words) = batches(order=order, caption_dropout=0.3), three_layouts(order)
    grammar = shared_bundle(order).grammar
    seen = [0, 0, 0]
    for document in documents(source, range(64)):
        kind = [tuple(document) in layout for layout in (no_words, words_first, picture_first)].index(True)
        seen[kind] += 1
        parse_document(grammar, document)
        assert len(document) <= 64
    assert min(seen) > 10


def test_every_row_comes_once_an_epoch():
    captions = [[f"picture number {row}"] for row in range(len(CODES))]  # so that a document names its row
    source = batches(codes=with_captions(captions), image_to_text=0, caption_dropout=0)
    drawn = Counter(tuple(document) for document in documents(source, range(32)))  # 128 documents of 16 rows
    assert len(drawn) == len(CODES)
    assert set(drawn.values()) == {8}


def test_a_batch_is_a_pure_function_of_seed_and_step():
    first, second = batches(), batches()
    for step in (70, 3, 0, 70):
        assert torch.equal(first.batch(step).input_ids, second.batch(step).input_ids)
        assert torch.equal(first.batch(step).labels, batches().batch(step).labels)
    other = DocumentBatches(first.source, pad_id=first.pad_id, batch_size=4, seed=4)
    assert documents(other, range(8)) != documents(first, range(8))


def test_labels_are_the_ids_and_padding_is_ignored():
    batch = collate([[1, 5, 6, 2], [1, 2]], pad_id=9)
    assert batch.input_ids.tolist() == [[1, 5, 6, 2], [1, 2, 9, 9]]
    assert batch.labels.tolist() == [[1, 5, 6, 2], [1, 2, IGNORED, IGNORED]]
    assert batch.num_targets == 3 + 1


def test_hardly_any_padding():
    source = batches(batch_size=8)
    labels = [source.batch(step).labels for step in range(32)]
    padding = sum(int((label == IGNORED).sum()) for label in labels) / sum(label.numel() for label in labels)
    assert padding < 0.05


def test_shares_are_as_configured():
    _, picture_first, no_words = three_layouts("level")
    count = 4096
    drawn = documents(batches(batch_size=128, image_to_text=0.25, caption_dropout=0.2), range(count // 128))
    with_caption = sum(1 for row in range(len(CODES)) if CODES.captions(row)[0]) / len(CODES)
    picture_first_share = sum(tuple(document) in picture_first for document in drawn) / count
    no_words_share = sum(tuple(document) in no_words for document in drawn) / count
    assert picture_first_share == pytest.approx(0.25 * with_caption, abs=0.02)
    assert no_words_share == pytest.approx(1 - with_caption + with_caption * 0.75 * 0.2, abs=0.02)


@pytest.mark.parametrize("mix", [{"image_to_text": -0.1}, {"caption_dropout": 1.1}, {"image_to_text": float("nan")}])
def test_shares_outside_their_range_are_refused(mix):
    with pytest.raises(InputError, match=f"{next(iter(mix))} must be 0..1"):
        DocumentMix(**mix)


def test_empty_captions_become_null_in_both_directions():
    vocabulary = shared_bundle().vocabulary
    source = batches(codes=with_captions([[""], [""]]), image_to_text=1.0)
    assert all(document[:2] == [vocabulary.bos_id, vocabulary.null_id] for document in documents(source, range(4)))


def test_each_caption_of_a_picture_has_its_turn():
    captions = ["one", "two", "three"]
    source = batches(codes=with_captions([captions]), image_to_text=0.0, caption_dropout=0.0)
    counts = Counter(
        text_tokenizer().decode(document[1 : document.index(shared_bundle().vocabulary.image_start_id("2x2"))])
        for document in documents(source, range(64))
    )
    assert set(counts) == set(captions)
    assert min(counts.values()) > 60  # of 256


def test_the_first_caption_describes_and_all_of_them_ask():
    captions = ["one", "two", "three"]
    source = batches(codes=with_captions([captions]), image_to_text=0.5, caption_dropout=0.0, describe_by_first=True)
    vocabulary, counts = shared_bundle().vocabulary, {True: Counter(), False: Counter()}
    for document in documents(source, range(64)):
        picture_first = document[1] == vocabulary.image_start_id("2x2")
        text = [id_ for id_ in document if id_ < text_tokenizer().vocab_size]
        counts[picture_first][text_tokenizer().decode(text)] += 1
    assert set(counts[True]) == {"one"} and counts[True].total() > 90  # of 256
    assert set(counts[False]) == set(captions) and min(counts[False].values()) > 25


def test_no_pictures_or_several_sizes_are_refused():
    several = replace(CODES, manifest=replace(CODES.manifest, grids=None))
    nothing = replace(CODES, dataset=CODES.dataset.select([]))
    for codes in (several, nothing):
        with pytest.raises(InputError, match="codes of pictures of one size, at least one"):
            batches(codes=codes)


@pytest.mark.parametrize("num_processes", [1, 2, 4])
def test_any_number_of_processes_sees_the_same_batch(num_processes: int):
    whole = batches().batch(5)
    shares = [process_slice(4, index, num_processes) for index in range(num_processes)]
    parts = [batches().batch(5).input_ids[share] for share in shares]
    assert torch.equal(torch.cat(parts), whole.input_ids)
