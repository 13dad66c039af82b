import json

import pytest
from tiny_chain import bundle_folder, codes_folder, shared_bundle, tokenizer_folder

from pictogram.hub.errors import InputError
from pictogram.lm.build_documents import BuildDocumentsConfig, build_documents, run
from pictogram.lm.document_dataset import load_documents
from pictogram.lm.documents import ImageSegment, images_to_ids, parse_document
from pictogram.lm.grammar import Grammar
from pictogram.tokenizer.codes_dataset import load_codes


def config(output, **changes) -> BuildDocumentsConfig:
    options = dict(
        codes=str(codes_folder()), tokenizer=str(tokenizer_folder()), output=str(output), text_vocab_size=290
    )
    return BuildDocumentsConfig(**{**options, **changes})


@pytest.mark.parametrize("order", ["level", "pyramid"])
def test_every_picture_comes_once_an_epoch(tmp_path, order: str):
    written = build_documents(config(tmp_path / "d", num_epochs=2, order=order))
    stored = load_documents(tmp_path / "d")
    assert written == stored.split
    assert written.rows == 32
    expected = images_to_ids(stored.vocabulary, load_codes(codes_folder()).codes(range(16))).tolist()
    grammar = Grammar(stored.vocabulary)
    for epoch in (range(16), range(16, 32)):
        parsed = [parse_document(grammar, document) for document in stored.documents(epoch)]
        pictures = [list(s.ids) for segments in parsed for s in segments if isinstance(s, ImageSegment)]
        assert sorted(pictures) == sorted(expected)
    assert stored.documents(range(16)) != stored.documents(range(16, 32))


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        build_documents(config(tmp_path / name, seed=seed))
    first, second, other = ((tmp_path / name / "data" / "train-00000.parquet").read_bytes() for name in "abc")
    assert first == second != other


def test_a_bundle_gives_its_vocabulary(tmp_path):
    build_documents(config(tmp_path / "d", from_bundle=str(bundle_folder()), tokenizer="nowhere"))
    assert load_documents(tmp_path / "d").vocabulary == shared_bundle().vocabulary


def test_what_the_command_prints_and_refuses(tmp_path):
    result = run(config(tmp_path / "d"))
    assert json.loads(json.dumps(result))["rows"] == 16
    with pytest.raises(InputError, match="has a split 'train' already"):
        run(config(tmp_path / "d"))
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        run(config(tmp_path / "e", tokenizer=str(tokenizer_folder(1))))
