"""Where a dataset of codes lies, in a folder or on the Hub, and whether it is what its manifest says.

The manifest comes first and alone. Whatever it rules out, such as another tokenizer's codes, costs no download.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..hub.errors import InputError
from ..hub.repository import download_folder, is_hub_name, open_file
from .codes_manifest import MANIFEST_NAME, CodesManifest, DamagedShard, ShardFooter, SplitManifest, read_footer


@dataclass(frozen=True)
class OpenShard:
    """A parquet file open for reading, and what it says about itself."""

    file: BinaryIO
    footer: ShardFooter


@dataclass(frozen=True)
class CodesLocation:
    """A dataset of codes. Made by `find_codes`.

    Attributes:
        name: what the user called it.
        folder: with the manifest; of a dataset on the Hub, a folder in the client's cache.
        revision: commit of the Hub's repository; None for a folder.
        manifest: how the codes were made.
        token: of an account that may read them on the Hub; None is that of the login.
    """

    name: str
    folder: Path
    revision: str | None
    manifest: CodesManifest
    token: str | None = field(default=None, repr=False)

    def split(self, split: str) -> SplitManifest:
        """What the manifest says of a split.

        Raises:
            InputError: there is no such split.
        """
        if split not in self.manifest.splits:
            raise InputError(f"{self.name} has no split {split!r}; it has: {', '.join(self.manifest.splits)}")
        return self.manifest.splits[split]

    def check_fingerprint(self, wanted: str) -> None:
        """Compares the tokenizer that made the codes with another.

        Raises:
            InputError: their `codes_fingerprint`s differ.
        """
        check_fingerprint(self.name, self.manifest.codes_fingerprint, wanted)

    def shards(self, split: str) -> list[Path]:
        """The split's files on this machine, whole and in order; those of no other split are downloaded.

        Raises:
            InputError: a file is missing or damaged, another tokenizer's, or counts disagree.
        """
        paths = self.split(split).shard_paths(self.folder, split)
        if self.revision is not None:
            names = [path.relative_to(self.folder).as_posix() for path in paths]
            download_folder(
                self.name, repo_type="dataset", revision=self.revision, allow_patterns=names, token=self.token
            )
            self._check_upload(names)
        footers = [read_footer(path) for path in paths]
        for path, footer in zip(paths, footers, strict=True):
            self.check_footer(path, footer)
        self.check_rows(split, sum(footer.rows for footer in footers))
        return paths

    def open_shard(self, split: str, index: int) -> OpenShard:
        """Opens one file of a split for reading where it is.

        Raises:
            InputError: it is missing or damaged, or another tokenizer's.
        """
        path = self.split(split).shard_paths(self.folder, split)[index]
        if self.revision is None:
            footer = read_footer(path)
            self.check_footer(path, footer)
            return OpenShard(open(path, "rb"), footer)
        name = path.relative_to(self.folder).as_posix()
        file = open_file(self.name, name, repo_type="dataset", revision=self.revision, token=self.token)
        try:
            footer = read_footer(file)
        except DamagedShard:
            raise DamagedShard(f"{name} of {self.name} is damaged") from None
        self.check_footer(name, footer)
        return OpenShard(file, footer)

    def check_footer(self, place: str | Path, footer: ShardFooter) -> None:
        """Whether a shard was made by the manifest's tokenizer."""
        check_fingerprint(place, footer.plan["codes_fingerprint"], self.manifest.codes_fingerprint)

    def check_rows(self, split: str, rows: int) -> None:
        """Whether a split's shards hold as many rows as the manifest says."""
        if rows != self.split(split).rows:
            raise InputError(f"{self.name} holds {rows} rows, its manifest says {self.split(split).rows}")

    def _check_upload(self, names: list[str]) -> None:
        missing = [name for name in names if not (self.folder / name).is_file()]
        if missing:
            raise InputError(f"{self.name} lacks {missing[0]}, which its manifest names: its upload has not finished")


def find_codes(path: str | os.PathLike[str], revision: str | None = None, *, token: str | None = None) -> CodesLocation:
    """Finds a dataset of codes and reads its manifest, nothing else.

    Args:
        path: a finished folder of codes, or "owner/name" of a dataset on the Hub. A folder of that name wins; whatever
            else looks like a path is never asked for on the Hub.
        revision: branch, tag or commit on the Hub; the main branch unless told.
        token: of an account that may read it; by default that of the login.

    Raises:
        InputError: there is no such folder or dataset, or it has no manifest that can be read.
    """
    name = os.fspath(path)
    if is_hub_name(path):
        found = download_folder(
            name, repo_type="dataset", revision=revision, allow_patterns=[MANIFEST_NAME], token=token
        )
        if not (found.folder / MANIFEST_NAME).is_file():
            raise InputError(f"{name} has no {MANIFEST_NAME}: not a dataset of codes, or its upload has not finished")
        return CodesLocation(name, found.folder, found.commit, CodesManifest.load(found.folder), token)
    if revision is not None:
        raise InputError(f"a revision, {revision!r}, needs a name on the Hub, owner/name; got the folder {name}")
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(f"{name} does not exist; expected a folder of codes, or owner/name of a dataset on the Hub")
    return CodesLocation(name, folder, None, CodesManifest.load(folder))


def check_fingerprint(place: str | Path, there: str, wanted: str) -> None:
    """Compares the `codes_fingerprint` that a place has with the one it should have.

    Raises:
        InputError: they differ.
    """
    if there != wanted:
        raise InputError(
            f"{place} holds codes of image tokenizer {there[:12]}..., expected {wanted[:12]}...; "
            "make the codes again with this tokenizer"
        )
