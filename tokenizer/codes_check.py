"""Is a folder of codes what its manifest says? Counts, hashes, ranges, and that no row is there twice."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from ..hub.errors import InputError
from .codes_manifest import CodesManifest, ShardFooter, SplitManifest, read_footer
from .images import Progress


@dataclass(frozen=True)
class CodesCheck:
    """What was looked at, and what is wrong.

    Attributes:
        shards: files that were read.
        rows: rows in them.
        codes: codes in them.
        problems: one line each; none if the folder is whole.
    """

    shards: int
    rows: int
    codes: int
    problems: list[str]


def check_codes(folder: str | Path, progress: Progress | None = None) -> CodesCheck:
    """Reads every file of a folder of codes.

    Args:
        folder: with a manifest.
        progress: called with the number of files done since the last call.

    Raises:
        InputError: there is no manifest.
    """
    folder = Path(folder)
    manifest = CodesManifest.load(folder)
    shards = rows = codes = 0
    problems: list[str] = []
    for name, split in manifest.splits.items():
        found = _SplitCheck(manifest, name, split)
        for index, path in enumerate(split.shard_paths(folder, name)):
            problems += found.shard_problems(index, path)
            if progress is not None:
                progress(1)
        problems += found.split_problems()
        shards, rows, codes = shards + found.shards, rows + found.rows, codes + found.codes
    expected = {path for name, split in manifest.splits.items() for path in split.shard_paths(folder, name)}
    strangers = sorted(path.name for path in (folder / "data").glob("*.parquet") if path not in expected)
    problems += [f"{name} is in the folder, but not in the manifest" for name in strangers]
    return CodesCheck(shards, rows, codes, problems)


class _SplitCheck:
    """What adds up over the files of one split."""

    def __init__(self, manifest: CodesManifest, name: str, split: SplitManifest):
        self.manifest = manifest
        self.name = name
        self.split = split
        self.shards = self.rows = self.codes = self.input_rows = 0
        self.failures: list[dict[str, str]] = []
        self.identities: list[np.ndarray] = []

    def shard_problems(self, index: int, path: Path) -> Iterator[str]:
        """What is wrong with one file."""
        try:
            footer = read_footer(path)
            table = pyarrow.parquet.read_table(path)
        except InputError as error:
            yield str(error)
            return
        except (OSError, pyarrow.ArrowException):
            yield f"{path.name} cannot be read to its end"
            return
        self._count(footer)
        if footer.plan["codes_fingerprint"] != self.manifest.codes_fingerprint:
            yield f"{path.name} holds codes of another tokenizer"
        if self.split.sha256 and hashlib.sha256(path.read_bytes()).hexdigest() != self.split.sha256[index]:
            yield f"{path.name} has changed since it was made: another SHA-256"
        if footer.rows:
            self.identities.append(_identities(table))
            yield from (f"{path.name}: {problem}" for problem in self._code_problems(table))

    def split_problems(self) -> Iterator[str]:
        """What is wrong with all files together."""
        sums = {"rows": self.rows, "input_rows": self.input_rows, "num_shards": self.shards}
        for name, found in sums.items():
            if found != getattr(self.split, name):
                yield f"split {self.name} has {name} {found}, its manifest says {getattr(self.split, name)}"
        if self.failures != self.split.failures:
            yield f"split {self.name}: files and manifest list different failures"
        identities = np.concatenate(self.identities) if self.identities else np.zeros(0)
        twice = len(identities) - len(np.unique(identities))
        if twice:
            yield f"split {self.name} has {twice} rows whose key and view occur twice"

    def _count(self, footer: ShardFooter) -> None:
        self.shards += 1
        self.rows += footer.rows
        self.input_rows += footer.input_rows
        self.failures += footer.failures

    def _code_problems(self, table: pyarrow.Table) -> Iterator[str]:
        for level, size in enumerate(self.manifest.codebook_sizes):
            codes = table[f"codes_{level}"].combine_chunks()
            lengths = codes.value_lengths().to_numpy(zero_copy_only=False)
            wanted = _wanted_lengths(table, level, self.manifest.grids)
            if np.any(lengths != wanted):
                row = int(np.flatnonzero(lengths != wanted)[0])
                yield f"row {row} has {lengths[row]} codes in level {level}, its grid wants {wanted[row]}"
            values = codes.flatten()
            self.codes += len(values)
            largest = int(values.to_numpy(zero_copy_only=False).max(initial=0))
            if largest >= size:
                yield f"level {level} has code {largest}, but its codebook has {size}"


def _wanted_lengths(table: pyarrow.Table, level: int, grids: list[list[int]] | None) -> np.ndarray:
    """(N,) codes that each row should have in a level."""
    if grids is not None:
        return np.full(len(table), math.prod(grids[level]))
    flat = table[f"grid_{level}"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.astype(np.int64).reshape(-1, 2).prod(1)


def _identities(table: pyarrow.Table) -> np.ndarray:
    """(N,) 64-bit hashes of key and view: equal for equal ones, and hardly ever for others."""
    pairs = zip(table["key"].to_pylist(), table["view"].to_pylist(), strict=True)
    digests = b"".join(hashlib.blake2b(f"{view}/{key}".encode(), digest_size=8).digest() for key, view in pairs)
    return np.frombuffer(digests, dtype=np.uint64)
