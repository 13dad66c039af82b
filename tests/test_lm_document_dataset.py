import json
import shutil
from pathlib import Path

import pytest
import torch
from datasets import load_dataset
from tiny_chain import codes_folder, shared_bundle, text_tokenizer

from pictogram.hub.errors import InputError
from pictogram.hub.fingerprint import fingerprint
from pictogram.lm.document_dataset import StoredDocuments, load_documents, write_documents
from pictogram.lm.documents import ImageSegment, TextSegment, build_document, images_to_ids, parse_document
from pictogram.lm.text_tokenizer import TextTokenizer, train_text_tokenizer
from pictogram.tokenizer.codes_dataset import load_codes

VOCABULARY, TEXT = shared_bundle().vocabulary, text_tokenizer()


def picture(row: int) -> ImageSegment:
    return ImageSegment(tuple(images_to_ids(VOCABULARY, load_codes(codes_folder()).codes([row]))[0].tolist()), "2x2")


def words(text: str) -> TextSegment:
    return TextSegment(tuple(TEXT.encode(text)))


def two_pictures(rows: range = range(16)) -> list[list[int]]:
    """Texts and pictures in turns."""
    return [
        build_document(VOCABULARY, [words("from"), picture(row), words("to"), picture((row + 1) % 16), words("done")])
        for row in rows
    ]


@pytest.fixture
def folder(tmp_path) -> Path:
    write_documents(iter(two_pictures()), tmp_path / "documents", VOCABULARY, TEXT)
    return tmp_path / "documents"


def test_what_is_written_is_read(folder):
    stored = load_documents(folder)
    documents = two_pictures()
    assert stored.documents(range(16)) == documents
    assert stored.documents([3, 0, 3]) == [documents[3], documents[0], documents[3]]
    assert stored.shard_sizes == (16,)
    assert (stored.split.rows, stored.split.tokens) == (16, sum(map(len, documents)))
    assert stored.split.longest == max(map(len, documents))
    assert stored.vocabulary == VOCABULARY
    assert stored.text_tokenizer.encode("red apple") == TEXT.encode("red apple")
    assert len(parse_document(shared_bundle().grammar, stored.documents([0])[0])) == 5


def test_others_read_it_without_this_package(folder):
    rows = load_dataset("parquet", data_files=str(folder / "data" / "*.parquet"), split="train")
    assert rows["input_ids"][:] == two_pictures()
    assert rows["length"][:] == [len(document) for document in two_pictures()]
    assert str(rows.features["input_ids"].feature.dtype) == "uint16"


def test_splits_come_one_after_the_other_and_files_of_a_killed_writer_go(folder):
    (folder / "data" / "test-00007.parquet").write_bytes(b"half")
    write_documents(two_pictures(range(3)), folder, VOCABULARY, TEXT, split="test")
    assert len(load_documents(folder, "test").dataset) == 3
    assert len(load_documents(folder).dataset) == 16
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["test-00000.parquet", "train-00000.parquet"]
    assert load_documents(folder).content != load_documents(folder, "test").content


def test_a_split_that_is_finished_meanwhile_stays(folder):
    def slowly():
        yield from two_pictures(range(2))
        write_documents(two_pictures(range(3)), folder, VOCABULARY, TEXT, split="test")

    write_documents(slowly(), folder, VOCABULARY, TEXT, split="more")
    assert [load_documents(folder, split).split.rows for split in ("train", "test", "more")] == [16, 3, 2]


def test_a_writer_killed_before_the_manifest_starts_again(folder):
    written = load_documents(folder).content
    (folder / "documents.json").unlink()
    write_documents(two_pictures(), folder, VOCABULARY, TEXT)
    assert load_documents(folder).content == written


def test_files_of_other_splits_are_not_taken_for_left_over_ones(folder):
    other = folder / "data" / "test-clean-00000.parquet"
    other.write_bytes(b"of an earlier version")
    write_documents(two_pictures(range(3)), folder, VOCABULARY, TEXT, split="test")
    assert other.exists()


def other_text_tokenizer() -> TextTokenizer:
    """Of as many pieces."""
    other = TextTokenizer(train_text_tokenizer(["violet mango kiwi lemon winking banner truck ship tower"] * 20, 290))
    assert other.vocab_size == TEXT.vocab_size
    return other


def test_a_split_in_another_text_tokenizer_is_refused(folder):
    with pytest.raises(InputError, match=r"holds documents in text tokenizer .* equal ids would be other words"):
        write_documents(two_pictures(range(3)), folder, VOCABULARY, other_text_tokenizer(), split="test")
    assert load_documents(folder).text_tokenizer.encode("red apple") == TEXT.encode("red apple")


def test_a_text_tokenizer_that_was_exchanged_is_refused(folder):
    other_text_tokenizer().save(folder / "tokenizer.model")
    with pytest.raises(InputError, match="holds documents in text tokenizer"):
        load_documents(folder)


def test_the_content_tells_other_documents_of_equal_size(tmp_path):
    documents, contents = two_pictures(range(2)), []
    for name, written in (("a", documents), ("b", documents), ("c", documents[::-1])):
        write_documents(written, tmp_path / name, VOCABULARY, TEXT)
        contents.append(load_documents(tmp_path / name).content)
    sizes = {(tmp_path / name / "data" / "train-00000.parquet").stat().st_size for name in "abc"}
    assert len(sizes) == 1 and contents[0] == contents[1] != contents[2]


def test_folders_from_before_hashes_were_kept(folder):
    manifest = json.loads((folder / "documents.json").read_text())
    del manifest["text_sha256"], manifest["splits"]["train"]["sha256"]
    (folder / "documents.json").write_text(json.dumps(manifest))
    size = (folder / "data" / "train-00000.parquet").stat().st_size
    told_by = {"split": manifest["splits"]["train"], "bytes": [size], "vocabulary": VOCABULARY.to_json()}
    assert load_documents(folder).content == fingerprint({}, told_by)
    write_documents(two_pictures(range(3)), folder, VOCABULARY, TEXT, split="test")
    assert load_documents(folder).documents(range(16)) == two_pictures()
    assert load_documents(folder).content == fingerprint({}, told_by)


def test_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr("pictogram.lm.document_dataset._ROWS_PER_FILE", 5)
    assert write_documents(two_pictures(), tmp_path / "d", VOCABULARY, TEXT).num_files == 4
    assert load_documents(tmp_path / "d").documents(range(16)) == two_pictures()


def refused(message: str, documents: list[list[int]], folder: Path, **options) -> None:
    with pytest.raises(InputError, match=message):
        write_documents(documents, folder, options.pop("vocabulary", VOCABULARY), TEXT, **options)


def test_bad_documents_and_bad_folders_are_refused(folder, tmp_path):
    whole = two_pictures(range(2))
    refused("document 1: position 0: .* where <bos> is expected", [whole[0], whole[1][1:]], tmp_path / "a")
    refused("document 0 breaks off after", [whole[0][:-1]], tmp_path / "b")
    refused("at least one document", [], tmp_path / "c")
    refused("has a split 'train' already", whole, folder)
    refused("documents of another vocabulary", whole, folder, split="test", vocabulary=VOCABULARY.add_codes(0, 1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    refused("is not empty and holds no documents", whole, tmp_path / "other")
    shutil.copytree(folder, tmp_path / "text")
    shutil.rmtree(tmp_path / "text" / "data")
    (tmp_path / "text" / "documents.json").unlink()
    refused("is not empty and holds no documents", whole, tmp_path / "text")  # somebody's tokenizer
    for split in ("train-clean", "train/x", "../x", ""):
        refused("a split's name is letters, digits and underscores, with dots between", whole, folder, split=split)
    assert load_documents(folder).documents(range(16)) == two_pictures()


def test_damaged_folders_are_refused(folder, tmp_path):
    def damaged(change) -> str:
        copy = shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True)
        change(copy)
        with pytest.raises(InputError) as error:
            load_documents(copy)
        return str(error.value)

    shard = Path("data") / "train-00000.parquet"
    assert "cannot be read" in damaged(lambda copy: (copy / shard).write_bytes((copy / shard).read_bytes()[:-9]))
    assert "is missing" in damaged(lambda copy: (copy / shard).unlink())
    manifest = json.loads((folder / "documents.json").read_text())
    manifest["splits"]["train"]["rows"] = 17
    assert "holds 16 documents" in damaged(lambda copy: (copy / "documents.json").write_text(json.dumps(manifest)))
    assert "malformed" in damaged(lambda copy: (copy / "documents.json").write_text('{"format": 1}'))
    assert "reads 1" in damaged(lambda copy: (copy / "documents.json").write_text('{"format": 2, "splits": {}}'))
    assert "has no documents.json" in damaged(lambda copy: (copy / "documents.json").unlink())
    with pytest.raises(InputError, match="has no split 'test'; it has: train"):
        load_documents(folder, "test")


def test_it_is_a_source_of_documents(folder):
    stored: StoredDocuments = load_documents(folder)
    assert stored.documents([1], torch.rand(1, 3)) == two_pictures(range(1, 2))
