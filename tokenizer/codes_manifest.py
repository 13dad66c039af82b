"""What a folder of codes says about itself: `pictogram.json`, and the footer of every shard.

The manifest is written last; a folder without one is unfinished. Each shard's parquet footer holds the plan it was made
under and its own failures, so that after a kill finished shards are recognised and the manifest is rebuilt from them.
"""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow
import pyarrow.parquet

from ..hub.errors import InputError, first_line
from ..hub.files import read_json, write_json

MANIFEST_NAME = "pictogram.json"
FORMAT_VERSION = 1
_FOOTER_KEY = b"pictogram"
_PACKAGES = ("pictogram", "torch", "transformers", "datasets", "pillow")


class DamagedShard(InputError):  # noqa: N818
    """A shard that is not whole, so that its rows and failures are lost."""


@dataclass(frozen=True)
class SplitManifest:
    """One split of a dataset of codes.

    Attributes:
        input_rows: rows of the source.
        rows: rows of codes: one for each view of each source row that was encoded.
        rows_per_shard: source rows behind each shard, where the source could be cut anywhere.
        num_shards: parquet files.
        failures: `{"key", "reason"}` of each source row that was left out.
        num_views: rows per source row.
        sha256: of each file, 64 hexadecimal digits; empty in folders made before they were kept.
        shard_rows: rows of codes in each file; empty in folders made before they were kept.
    """

    input_rows: int
    rows: int
    rows_per_shard: int
    num_shards: int
    failures: list[dict[str, str]]
    num_views: int = 1
    sha256: list[str] = field(default_factory=list)
    shard_rows: list[int] = field(default_factory=list)

    def shard_paths(self, folder: Path, split: str) -> list[Path]:
        """The split's files in order."""
        return [shard_path(folder, split, index, self.num_shards) for index in range(self.num_shards)]


@dataclass(frozen=True)
class CodesManifest:
    """How the codes of a folder were made.

    Attributes:
        tokenizer_id: name or path of the image tokenizer.
        codes_fingerprint: see `fingerprints.codes_fingerprint`; equal for every row of the folder.
        decoder_fingerprint: see `fingerprints.decoder_fingerprint`.
        preprocessing: the image processor's settings.
        strides: pixels per code of each level, coarse to fine; "image" is one code for the whole picture.
        codebook_sizes: number of codes of each level.
        grids: (rows, columns) of each level, or None when pictures kept their sizes and each row has its own.
        encoding_dtype: the model's number type while encoding.
        versions: of the libraries that took part.
        splits: by name.
        tokenizer_revision: commit of the Hub repository that the tokenizer was loaded from; None for a folder.
    """

    tokenizer_id: str | None
    codes_fingerprint: str
    decoder_fingerprint: str
    preprocessing: dict[str, Any]
    strides: list[int | str]
    codebook_sizes: list[int]
    grids: list[list[int]] | None
    encoding_dtype: str
    versions: dict[str, str]
    splits: dict[str, SplitManifest] = field(default_factory=dict)
    tokenizer_revision: str | None = None

    def save(self, folder: Path) -> None:
        """Writes `pictogram.json`, all or nothing."""
        header = {"format": "pictogram codes", "format_version": FORMAT_VERSION}
        write_json(folder / MANIFEST_NAME, header | asdict(self))

    @classmethod
    def load(cls, folder: Path) -> CodesManifest:
        """Reads `pictogram.json`.

        Raises:
            InputError: it is missing, damaged, or of a newer format.
        """
        path = folder / MANIFEST_NAME
        if not path.exists():
            raise InputError(f"{path} is missing: not a folder of codes, or one whose making has not finished")
        content = read_json(path)
        try:
            version = content.pop("format_version")
            if version > FORMAT_VERSION:
                raise InputError(f"{path} has format {version}, this version of pictogram reads up to {FORMAT_VERSION}")
            content.pop("format")
            splits = {name: SplitManifest(**split) for name, split in content.pop("splits").items()}
            return cls(splits=splits, **content)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} is not a manifest of codes: {error}") from None


@dataclass(frozen=True)
class ShardFooter:
    """What a shard says about itself.

    Attributes:
        plan: equal for all shards of one split.
        rows: of codes.
        failures: `{"key", "reason"}` of each of its source rows that was left out.
        input_rows: source rows behind it.
    """

    plan: dict[str, Any]
    rows: int
    failures: list[dict[str, str]]
    input_rows: int


def shard_path(folder: Path, split: str, index: int, num_shards: int) -> Path:
    """Where the Hub and `load_dataset` expect it: data/train-00000-of-00004.parquet."""
    return folder / "data" / f"{split}-{index:05d}-of-{num_shards:05d}.parquet"


def with_footer(schema: pyarrow.Schema, footer: ShardFooter) -> pyarrow.Schema:
    """The schema with the footer among its metadata, but for the rows, which parquet counts itself."""
    content = {"plan": footer.plan, "failures": footer.failures, "input_rows": footer.input_rows}
    encoded = json.dumps(content, ensure_ascii=False).encode()
    return schema.with_metadata({**(schema.metadata or {}), _FOOTER_KEY: encoded})


def read_footer(path: Path | BinaryIO) -> ShardFooter:
    """Reads the footer of a shard, a file or an open one, not its rows.

    Raises:
        DamagedShard: the file is cut short or otherwise broken.
        InputError: the file is missing, or something else wrote it.
    """
    try:
        parquet = pyarrow.parquet.read_metadata(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing") from None
    except (OSError, pyarrow.ArrowException) as error:
        raise DamagedShard(f"{path} is damaged: {first_line(error)}") from None
    if _FOOTER_KEY not in (parquet.metadata or {}):
        raise InputError(f"{path} was not made by pictogram")
    return ShardFooter(rows=parquet.num_rows, **json.loads(parquet.metadata[_FOOTER_KEY]))


def library_versions() -> dict[str, str]:
    """Versions of the libraries that decide codes."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}
