from pathlib import Path
from typing import Any

import pytest
import torch
from test_lm_training_rows import sharper_folder
from tiny_chain import bundle, bundle_folder, codes_folder, shared_bundle, text_tokenizer, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.lm.bundle import Bundle
from pictogram.lm.document_dataset import write_documents
from pictogram.lm.documents import ImageSegment, TextSegment, build_document, images_to_ids
from pictogram.lm.training_config import PriorTrainingConfig
from pictogram.lm.training_rows import open_rows
from pictogram.lm.training_start import PriorStart, new_start
from pictogram.tokenizer.codes_dataset import load_codes
from pictogram.tokenizer.loading import load_image_tokenizer


def start(**changes: Any) -> PriorStart:
    options = {"codes": str(codes_folder()), "tokenizer": str(tokenizer_folder()), **changes}
    config = PriorTrainingConfig(**options)
    return new_start(config, open_rows(config))


def documents(folder: Path, bundle: Bundle, **pictures: int) -> dict[str, Any]:
    """Splits, each of a document with so many pictures of 8 tokens and 2 more."""
    vocabulary = bundle.vocabulary
    ids = images_to_ids(vocabulary, load_codes(codes_folder()).codes([0]))[0].tolist()
    words = TextSegment((bundle.text_tokenizer.encode("e")[0],))
    for split, count in pictures.items():
        document = build_document(vocabulary, [words, ImageSegment(tuple(ids), "2x2")] * count)
        assert len(document) == 8 * count + 2
        write_documents([document], folder, vocabulary, bundle.text_tokenizer, split=split)
    return {"documents": str(folder)}


def test_documents_are_drawn_by_the_decoder_that_is_given(tmp_path):
    options = documents(tmp_path / "documents", shared_bundle(), train=1)
    sharper = sharper_folder(tmp_path)
    found = start(**options, tokenizer=str(sharper))
    assert found.vocabulary.decoder_fingerprint == load_image_tokenizer(sharper).fingerprints["decoder"]
    found.bundle(found.stock(found.model())).save_pretrained(tmp_path / "bundle")  # which checks that its parts fit


def test_documents_longer_than_the_context_are_refused(tmp_path):
    options = documents(tmp_path / "documents", shared_bundle(), train=2, test=3)
    assert start(**options).context_length == 64
    assert start(**options, context_length=18).context_length == 18
    with pytest.raises(InputError, match=r"longest document of .* has 18 tokens, expected at most 17, the context"):
        start(**options, context_length=17)
    with pytest.raises(InputError, match="has 26 tokens, expected at most 25"):
        start(**options, context_length=25, eval_split="test")
    assert start(**options, context_length=26, eval_split="test").context_length == 26


def test_documents_longer_than_the_context_of_the_bundle_are_refused(tmp_path):
    options = documents(tmp_path / "documents", shared_bundle(), train=8, test=7)
    from_bundle = str(bundle_folder())  # 64 places
    assert start(**options, from_bundle=from_bundle, split="test").context_length == 64
    with pytest.raises(InputError, match="has 66 tokens, expected at most 64"):
        start(**options, from_bundle=from_bundle)


def test_a_prior_in_bfloat16_is_trained_in_float32(tmp_path):
    coarse = bundle()
    coarse.prior.to(torch.bfloat16)  # pyright: ignore[reportArgumentType]
    coarse.save_pretrained(tmp_path / "coarse")
    model = start(from_bundle=str(tmp_path / "coarse")).model()
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    before = dict(coarse.prior.named_parameters())
    assert all(torch.equal(weight, before[name].float()) for name, weight in model.named_parameters())


def test_words_may_be_given():
    config = PriorTrainingConfig(codes=str(codes_folder()), tokenizer=str(tokenizer_folder()), text_vocab_size=500)
    words = new_start(config, open_rows(config), text_tokenizer()).words
    assert words.text_tokenizer is text_tokenizer()
    assert len(words.vocabulary.text_range) == 290
