import json

import pytest
from tiny_chain import CAPTIONS, bundle_folder, codes_folder, shared_bundle, tokenizer_folder
from tiny_pictures import png, write_files

from pictogram.hub.errors import InputError
from pictogram.lm.build_documents import BuildDocumentsConfig, build_documents, run
from pictogram.lm.document_dataset import load_documents
from pictogram.lm.documents import ImageSegment, TextSegment, images_to_ids, parse_document
from pictogram.lm.grammar import Grammar
from pictogram.pipelines.tokenize import tokenize
from pictogram.pipelines.tokenize_job import TokenizeConfig
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


def texts(folder, split: str) -> set[str]:
    stored = load_documents(folder, split)
    segments = [part for ids in stored.documents(range(4)) for part in parse_document(Grammar(stored.vocabulary), ids)]
    return {stored.text_tokenizer.decode(part.ids) for part in segments if isinstance(part, TextSegment)}


def test_another_split_is_written_in_the_words_of_the_first(tmp_path):
    """A text tokenizer of its own, of equal size, would turn the first split's words into others."""
    captions = {"train": CAPTIONS[:4], "test": ["violet mango", "winking lemon", "kiwi banner truck", "tower ship"]}
    for split, lines in captions.items():
        for index, caption in enumerate(lines):
            files = {f"{index}.png": png(index, (16, 16)), f"{index}.txt": caption}
            write_files(tmp_path / "pictures" / split, files)
        data, model, output = str(tmp_path / "pictures"), str(tokenizer_folder()), str(tmp_path / "codes")
        tokenize(TokenizeConfig(data=data, split=split, model=model, output=output))
    changes = dict(codes=str(tmp_path / "codes"), caption_dropout=0.0, text_vocab_size=270)
    for split in captions:
        build_documents(config(tmp_path / "d", split=split, **changes))
    assert texts(tmp_path / "d", "train") == {*captions["train"]}
    assert texts(tmp_path / "d", "test") == {*captions["test"]}


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
    assert {*result} == {"documents", "split", "rows", "tokens", "longest", "num_files"}
    with pytest.raises(InputError, match="has a split 'train' already"):
        run(config(tmp_path / "d"))
    with pytest.raises(InputError, match="holds codes of image tokenizer"):
        run(config(tmp_path / "e", tokenizer=str(tokenizer_folder(1))))
