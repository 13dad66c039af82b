"""Documents on disk: `input_ids` in parquet, for our trainer and for everybody else's.

A folder of documents holds `data/*.parquet`, the vocabulary and the tokenizer that they are written in, and
`documents.json`. It is written last, so a folder without it is unfinished. Any document of the grammar will do, with
any number of texts and pictures in any order.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import torch
from datasets import Dataset, load_dataset

from ..hub.errors import InputError
from ..hub.files import atomic_files, read_json_object, write_json
from ..hub.fingerprint import fingerprint
from .grammar import Grammar
from .joint_tokenizer import AnyTextTokenizer, load_text_tokenizer, save_joint_tokenizer
from .vocabulary import JointVocabulary

MANIFEST_NAME = "documents.json"
_FORMAT = 1
_ROWS_PER_FILE = 100_000


@dataclass(frozen=True)
class DocumentsSplit:
    """One split of a folder of documents.

    Attributes:
        rows: documents.
        tokens: of all documents.
        longest: tokens of the longest one.
        num_files: parquet files.
    """

    rows: int
    tokens: int
    longest: int
    num_files: int


@dataclass(frozen=True, eq=False)
class StoredDocuments:
    """Documents of one split, and what they are written in. Made by `load_documents`.

    Attributes:
        dataset: one row per document, `input_ids` from `<bos>` to `<eos>`.
        split: counts.
        vocabulary: the joint id space.
        text_tokenizer: of the texts.
        content: fingerprint of the folder, for runs that go on.
    """

    dataset: Dataset
    split: DocumentsSplit
    vocabulary: JointVocabulary
    text_tokenizer: AnyTextTokenizer
    content: str

    @property
    def shard_sizes(self) -> tuple[int, ...]:
        """See `DocumentSource`: everything lies in mapped memory."""
        return (len(self.dataset),)

    def documents(self, rows: Sequence[int], draws: torch.Tensor | None = None) -> list[list[int]]:
        """Some documents as they are; nothing about them is drawn."""
        return self._ids[list(rows)]["input_ids"]

    @cached_property
    def _ids(self) -> Dataset:
        return self.dataset.select_columns(["input_ids"])


def write_documents(
    documents: Iterable[Sequence[int]],
    output_dir: str | os.PathLike[str],
    vocabulary: JointVocabulary,
    text_tokenizer: AnyTextTokenizer,
    *,
    split: str = "train",
) -> DocumentsSplit:
    """Writes one split of documents; other splits of the same vocabulary in the folder stay.

    Args:
        documents: whole ones, as `build_document` makes them; they may come from a generator.
        output_dir: folder, made if missing.
        vocabulary: that they are written in.
        text_tokenizer: of their texts.
        split: its name.

    Raises:
        InputError: a document breaks the grammar, there are none, or the folder holds documents of another vocabulary,
            this split, or other files.

    Example:
        segments = [TextSegment(before), ImageSegment(first, "4x4"), TextSegment(after), ImageSegment(second, "4x4")]
        write_documents([build_document(vocabulary, segments)], "documents", vocabulary, text_tokenizer)
    """
    folder = Path(output_dir)
    splits = _splits_so_far(folder, vocabulary, split)
    for left_over in (folder / "data").glob(f"{glob.escape(split)}-*.parquet"):  # of a writer that was killed
        left_over.unlink()
    written = _write_split(_checked(documents, Grammar(vocabulary)), folder, split, vocabulary.vocab_size)
    with atomic_files(folder) as staging:
        save_joint_tokenizer(text_tokenizer, vocabulary, staging)
        vocabulary.save(staging)
    content = {name: asdict(value) for name, value in {**splits, split: written}.items()}
    write_json(folder / MANIFEST_NAME, {"format": _FORMAT, "splits": content})
    return written


def load_documents(path: str | os.PathLike[str], split: str = "train") -> StoredDocuments:
    """Opens a folder that `write_documents` made.

    Raises:
        InputError: it is no such folder, has no such split, or a file is missing or damaged.
    """
    folder = Path(path).expanduser()
    splits = _read_manifest(folder)
    if split not in splits:
        raise InputError(f"{path} has no split {split!r}; it has: {', '.join(splits)}")
    found = splits[split]
    files = [_file(folder, split, index) for index in range(found.num_files)]
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is missing")
    try:
        names = [glob.escape(str(file.absolute())) for file in files]
        dataset = load_dataset("parquet", data_files={split: names}, split=split)
    except Exception as error:  # `datasets` wraps whatever went wrong
        raise InputError(f"the documents in {path} cannot be read: {error}") from error
    if len(dataset) != found.rows:
        raise InputError(f"{path} holds {len(dataset)} documents in split {split}, its manifest says {found.rows}")
    vocabulary = JointVocabulary.load(folder)
    sizes = [file.stat().st_size for file in files]
    content = fingerprint({}, {"split": asdict(found), "bytes": sizes, "vocabulary": vocabulary.to_json()})
    return StoredDocuments(dataset, found, vocabulary, load_text_tokenizer(vocabulary, folder), content)


def is_documents(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a finished folder of documents."""
    return (Path(path).expanduser() / MANIFEST_NAME).is_file()


def _checked(documents: Iterable[Sequence[int]], grammar: Grammar) -> Iterator[list[int]]:
    for number, document in enumerate(documents):
        try:
            state = grammar.state_after(document)
        except InputError as error:
            raise InputError(f"document {number}: {error}") from None
        if state.kind != "end":
            raise InputError(f"document {number} breaks off after {len(document)} ids")
        yield [int(id_) for id_ in document]


def _write_split(documents: Iterator[list[int]], folder: Path, split: str, vocab_size: int) -> DocumentsSplit:
    ids = pyarrow.uint16() if vocab_size <= 1 << 16 else pyarrow.uint32()
    schema = pyarrow.schema([("input_ids", pyarrow.list_(ids)), ("length", pyarrow.int32())])
    rows = tokens = longest = num_files = 0
    while part := list(islice(documents, _ROWS_PER_FILE)):
        lengths = [len(document) for document in part]
        table = pyarrow.table({"input_ids": part, "length": lengths}, schema=schema)
        with atomic_files(folder / "data") as staging:
            pyarrow.parquet.write_table(table, staging / _file(folder, split, num_files).name)
        rows, tokens, longest = rows + len(part), tokens + sum(lengths), max(longest, *lengths)
        num_files += 1
    if not rows:
        raise InputError("at least one document is expected, got none")
    return DocumentsSplit(rows, tokens, longest, num_files)


def _file(folder: Path, split: str, index: int) -> Path:
    """Where `load_dataset` expects it; the number of files is not known before the last."""
    return folder / "data" / f"{split}-{index:05d}.parquet"


def _splits_so_far(folder: Path, vocabulary: JointVocabulary, split: str) -> dict[str, DocumentsSplit]:
    if not is_documents(folder):
        names = {entry.name for entry in folder.iterdir()} if folder.exists() else set[str]()
        if any(not name.startswith(".") and name != "data" for name in names):
            raise InputError(f"{folder} is not empty and holds no documents; give another folder")
        return {}
    splits = _read_manifest(folder)
    if split in splits:
        raise InputError(f"{folder} has a split {split!r} already; give another folder or split")
    if JointVocabulary.load(folder) != vocabulary:
        raise InputError(f"{folder} holds documents of another vocabulary; give another folder")
    return splits


def _read_manifest(folder: Path) -> dict[str, DocumentsSplit]:
    if not is_documents(folder):
        raise InputError(f"{folder} is no folder of documents: it has no {MANIFEST_NAME}")
    content: dict[str, Any] = read_json_object(folder / MANIFEST_NAME)
    try:
        if content["format"] != _FORMAT:
            raise InputError(f"{folder} has format {content['format']!r}, this version of pictogram reads {_FORMAT}")
        return {name: DocumentsSplit(**split) for name, split in content["splits"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / MANIFEST_NAME} is malformed: {error}") from None
