from typing import Any

import pytest
import torch
from tiny_chain import codes_folder, shared_bundle, text_tokenizer

from pictogram.hub.errors import InputError
from pictogram.lm.code_documents import CodeDocuments, DocumentMix, picture_length
from pictogram.lm.documents import ImageSegment, TextSegment, parse_document
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.codes_location import find_codes
from pictogram.tokenizer.codes_shards import CodesShards

ROWS = list(range(16))


def source(max_length: int = 64, streaming: bool = False, **mix: Any) -> CodeDocuments:
    rows = CodesShards(find_codes(codes_folder()), "train") if streaming else load_codes(codes_folder())
    vocabulary = shared_bundle().vocabulary
    return CodeDocuments(rows, text_tokenizer(), vocabulary, mix=DocumentMix(**mix), max_length=max_length)


def draws(count: int = 16) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0))


def test_streamed_rows_give_the_same_documents():
    assert source(streaming=True).documents(ROWS, draws()) == source().documents(ROWS, draws())
    assert sum(source(streaming=True).shard_sizes) == 16
    assert len(source(streaming=True).shard_sizes) > 1


def test_long_captions_lose_their_end():
    whole, cut = source(image_to_text=1.0), source(max_length=13, image_to_text=1.0)
    lengths = set()
    for long, short in zip(whole.documents(ROWS, draws()), cut.documents(ROWS, draws()), strict=True):
        first, second = (parse_document(shared_bundle().grammar, document) for document in (long, short))
        lengths.add(len(short))
        assert len(short) == min(len(long), 13)
        images = [segment for segment in first if isinstance(segment, ImageSegment)]
        assert images == [segment for segment in second if isinstance(segment, ImageSegment)]
        texts = (
            [s.ids for s in first if isinstance(s, TextSegment)],
            [s.ids for s in second if isinstance(s, TextSegment)],
        )
        assert all(text[: len(kept)] == kept for text, kept in zip(*texts, strict=True))
    assert max(lengths) == 13


def test_a_document_must_have_room_for_a_word():
    assert picture_length(((1, 1), (2, 2))) == 9
    assert source(max_length=10).text("red apple")
    with pytest.raises(InputError, match="a picture takes 10 tokens, documents at most 9"):
        source(max_length=9)
