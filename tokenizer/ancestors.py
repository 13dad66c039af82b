"""Which tokenizers a tokenizer was grown from: their codes mean the same in it, as long as only rows were added.

A tokenizer that gains codes gets other fingerprints, but every code that its ancestor had still stands for the same
vector. So codes and files of an ancestor can be read by its descendants, if no code is taken that came later.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..hub.errors import InputError


@dataclass(frozen=True)
class Ancestor:
    """A tokenizer whose codes all still mean the same, and give the same pictures, in a descendant.

    Attributes:
        codes_fingerprint: see `fingerprints.codes_fingerprint`.
        decoder_fingerprint: see `fingerprints.decoder_fingerprint`.
        codebook_sizes: its codes per level, coarse to fine; later ones are the descendant's own.
    """

    codes_fingerprint: str
    decoder_fingerprint: str
    codebook_sizes: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """As config.json holds it."""
        return asdict(self) | {"codebook_sizes": list(self.codebook_sizes)}

    @classmethod
    def from_json(cls, content: Any) -> Ancestor:
        """The inverse of `to_json`.

        Raises:
            InputError: the content is malformed.
        """
        if not isinstance(content, Mapping) or {*content} != {*cls.__dataclass_fields__}:
            raise InputError(f"an ancestor must have {', '.join(cls.__dataclass_fields__)}, got {content!r}")
        prints, sizes = [content["codes_fingerprint"], content["decoder_fingerprint"]], content["codebook_sizes"]
        if not all(isinstance(each, str) for each in prints):
            raise InputError(f"fingerprints of an ancestor must be strings, got {prints}")
        if not isinstance(sizes, Sequence) or not all(type(size) is int and size > 0 for size in sizes):
            raise InputError(f"codebook_sizes of an ancestor must be whole numbers above 0, got {sizes!r}")
        return cls(prints[0], prints[1], tuple(sizes))


def read_ancestors(contents: Sequence[Any], codebook_sizes: Sequence[int]) -> list[Ancestor]:
    """The ancestors that a configuration lists, oldest first.

    Args:
        contents: as `Ancestor.to_json` gave them.
        codebook_sizes: of the descendant.

    Raises:
        InputError: malformed ones, or one with more codes than a later one.
    """
    ancestors = [Ancestor.from_json(content) for content in contents]
    sizes = [*(ancestor.codebook_sizes for ancestor in ancestors), tuple(codebook_sizes)]
    for older, younger in itertools.pairwise(sizes):
        if len(older) != len(younger) or any(few > many for few, many in zip(older, younger, strict=True)):
            raise InputError(f"codebooks only grow, got {older} codes before {younger}")
    return ancestors
