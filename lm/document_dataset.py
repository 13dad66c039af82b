"""Documents on disk: `input_ids` in parquet, for our trainer and for everybody else's.

A folder of documents holds `data/*.parquet`, the vocabulary and the tokenizer that they are written in, and
`documents.json`. It is written last, so a folder without it is unfinished. Any document of the grammar will do, with
any number of texts and pictures in any order.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
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
from .joint_tokenizer import TEXT_PATTERNS, AnyTextTokenizer, load_text_tokenizer, save_joint_tokenizer
from .pretrained_text import CONFIG_FILE, TOKENIZER_FILE
from .text_tokenizer import TextTokenizer
from .vocabulary import VOCABULARY_FILE, JointVocabulary

MANIFEST_NAME = "documents.json"
_FORMAT = 1
_ROWS_PER_FILE = 100_000
_SPLIT_NAME = re.compile(r"\w+(\.\w+)*")  # what `datasets` accepts
_FIVE_DIGITS = "[0-9]" * 5
_OWN_NAMES = {"data", VOCABULARY_FILE, TOKENIZER_FILE, CONFIG_FILE, *(name.split("/")[0] for name in TEXT_PATTERNS)}
"""What lies in a folder whose writer was killed before the manifest; `data` comes first."""


@dataclass(frozen=True)
class DocumentsSplit:
    """One split of a folder of documents.

    Attributes:
        rows: documents.
        tokens: of all documents.
        longest: tokens of the longest one.
        num_files: parquet files.
        sha256: of each file, 64 hexadecimal digits; empty in folders made before they were kept.
    """

    rows: int
    tokens: int
    longest: int
    num_files: int
    sha256: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Manifest:
    """The content of `documents.json`.

    Attributes:
        splits: by name.
        text_sha256: of the text tokenizer, see `text_sha256`; empty in folders made before it was kept.
    """

    splits: dict[str, DocumentsSplit]
    text_sha256: str = ""


@dataclass(frozen=True, eq=False)
class StoredDocuments:
    """Documents of one split, and what they are written in. Made by `load_documents`.

    Attributes:
        dataset: one row per document, `input_ids` from `<bos>` to `<eos>`.
        split: counts.
        vocabulary: the joint id space.
        text_tokenizer: of the texts.
        content: fingerprint of the documents, for runs that go on.
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
        InputError: a document breaks the grammar, there are none, no reader would find a split of this name, or the
            folder holds documents of another vocabulary or text tokenizer, this split, or other files.

    Example:
        segments = [TextSegment(before), ImageSegment(first, "4x4"), TextSegment(after), ImageSegment(second, "4x4")]
        write_documents([build_document(vocabulary, segments)], "documents", vocabulary, text_tokenizer)
    """
    folder = Path(output_dir)
    if not _SPLIT_NAME.fullmatch(split):
        raise InputError(f"a split's name is letters, digits and underscores, with dots between, got {split!r}")
    _splits_so_far(folder, vocabulary, text_tokenizer, split)
    for left_over in (folder / "data").glob(f"{split}-{_FIVE_DIGITS}.parquet"):  # of a writer that was killed
        left_over.unlink()
    written = _write_split(_checked(documents, Grammar(vocabulary)), folder, split, vocabulary.vocab_size)
    splits = _splits_so_far(folder, vocabulary, text_tokenizer, split)  # others may have added theirs meanwhile
    with atomic_files(folder) as staging:
        save_joint_tokenizer(text_tokenizer, vocabulary, staging)
        vocabulary.save(staging)
    manifest = _Manifest({**splits, split: written}, text_sha256(text_tokenizer))
    write_json(folder / MANIFEST_NAME, {"format": _FORMAT, **asdict(manifest)})
    return written


def load_documents(path: str | os.PathLike[str], split: str = "train") -> StoredDocuments:
    """Opens a folder that `write_documents` made.

    Raises:
        InputError: it is no such folder, has no such split, a file is missing or damaged, or the text tokenizer is not
            the one that the documents were written in.
    """
    folder = Path(path).expanduser()
    manifest = _read_manifest(folder)
    if split not in manifest.splits:
        raise InputError(f"{path} has no split {split!r}; it has: {', '.join(manifest.splits)}")
    found = manifest.splits[split]
    files = [_file(folder, split, index) for index in range(found.num_files)]
    dataset = _open_files(folder, split, files)
    if len(dataset) != found.rows:
        raise InputError(f"{path} holds {len(dataset)} documents in split {split}, its manifest says {found.rows}")
    vocabulary = JointVocabulary.load(folder)
    text_tokenizer = load_text_tokenizer(vocabulary, folder)
    if manifest.text_sha256:
        _check_text(folder, manifest.text_sha256, text_sha256(text_tokenizer))
    content = _content(found, files, vocabulary, manifest.text_sha256)
    return StoredDocuments(dataset, found, vocabulary, text_tokenizer, content)


def is_documents(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a finished folder of documents."""
    return (Path(path).expanduser() / MANIFEST_NAME).is_file()


def text_tokenizer_of(path: str | os.PathLike[str]) -> AnyTextTokenizer | None:
    """The text tokenizer of a folder of documents, in which its other splits are written too; None if it has none yet.

    Raises:
        InputError: a file is missing or damaged.
    """
    folder = Path(path).expanduser()
    return load_text_tokenizer(JointVocabulary.load(folder), folder) if is_documents(folder) else None


def text_sha256(text_tokenizer: AnyTextTokenizer) -> str:
    """64 hexadecimal digits; equal ones give equal ids to equal texts."""
    if isinstance(text_tokenizer, TextTokenizer):
        return hashlib.sha256(text_tokenizer.model).hexdigest()
    return hashlib.sha256(json.dumps(text_tokenizer.content, sort_keys=True).encode()).hexdigest()


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
    rows = tokens = longest = 0
    sha256: list[str] = []
    while part := list(islice(documents, _ROWS_PER_FILE)):
        lengths = [len(document) for document in part]
        table = pyarrow.table({"input_ids": part, "length": lengths}, schema=schema)
        file = _file(folder, split, len(sha256))
        with atomic_files(folder / "data") as staging:
            pyarrow.parquet.write_table(table, staging / file.name)
        sha256.append(hashlib.sha256(file.read_bytes()).hexdigest())
        rows, tokens, longest = rows + len(part), tokens + sum(lengths), max(longest, *lengths)
    if not rows:
        raise InputError("at least one document is expected, got none")
    return DocumentsSplit(rows, tokens, longest, len(sha256), sha256)


def _open_files(folder: Path, split: str, files: Sequence[Path]) -> Dataset:
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} is missing")
    try:
        names = [glob.escape(str(file.absolute())) for file in files]
        return load_dataset("parquet", data_files={split: names}, split=split)
    except Exception as error:  # `datasets` wraps whatever went wrong
        raise InputError(f"the documents in {folder} cannot be read: {error}") from error


def _content(found: DocumentsSplit, files: Sequence[Path], vocabulary: JointVocabulary, text: str) -> str:
    """Tells documents from others; those of before hashes were kept, by counts and sizes, so that their runs go on."""
    if found.sha256:
        return fingerprint({}, {"sha256": found.sha256, "text": text, "vocabulary": vocabulary.to_json()})
    counts = {name: value for name, value in asdict(found).items() if name != "sha256"}
    sizes = [file.stat().st_size for file in files]
    return fingerprint({}, {"split": counts, "bytes": sizes, "vocabulary": vocabulary.to_json()})


def _file(folder: Path, split: str, index: int) -> Path:
    """Where `load_dataset` expects it; the number of files is not known before the last."""
    return folder / "data" / f"{split}-{index:05d}.parquet"


def _splits_so_far(
    folder: Path, vocabulary: JointVocabulary, text_tokenizer: AnyTextTokenizer, split: str
) -> dict[str, DocumentsSplit]:
    if not is_documents(folder):
        _check_empty(folder)
        return {}
    splits = _read_manifest(folder).splits
    if split in splits:
        raise InputError(f"{folder} has a split {split!r} already; give another folder or split")
    if JointVocabulary.load(folder) != vocabulary:
        raise InputError(f"{folder} holds documents of another vocabulary; give another folder")
    _check_text(folder, text_sha256(load_text_tokenizer(vocabulary, folder)), text_sha256(text_tokenizer))
    return splits


def _check_empty(folder: Path) -> None:
    """Whether nothing is in a folder but what a writer that was killed may have left there."""
    names = {entry.name for entry in folder.iterdir()} if folder.exists() else set[str]()
    names = {name for name in names if not name.startswith(".")}
    if names and not {"data"} <= names <= _OWN_NAMES:
        raise InputError(f"{folder} is not empty and holds no documents; give another folder")


def _check_text(folder: Path, there: str, wanted: str) -> None:
    if there != wanted:
        raise InputError(
            f"{folder} holds documents in text tokenizer {there[:12]}..., got {wanted[:12]}...: equal ids would be "
            "other words"
        )


def _read_manifest(folder: Path) -> _Manifest:
    if not is_documents(folder):
        raise InputError(f"{folder} is no folder of documents: it has no {MANIFEST_NAME}")
    content: dict[str, Any] = read_json_object(folder / MANIFEST_NAME)
    try:
        if content["format"] != _FORMAT:
            raise InputError(f"{folder} has format {content['format']!r}, this version of pictogram reads {_FORMAT}")
        splits = {name: DocumentsSplit(**split) for name, split in content["splits"].items()}
        return _Manifest(splits, content.get("text_sha256", ""))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{folder / MANIFEST_NAME} is malformed: {error}") from None
