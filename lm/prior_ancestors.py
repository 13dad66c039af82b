"""Which bundles a bundle was grown from: their ids, and the rows of these ids, are the first ones in it.

Ids never move, so whatever an ancestor could say, a descendant says with the same ids. While its old weights stay as
they were, it can also be cut back to what the ancestor was, and reads the ancestor's compressed files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..hub.errors import InputError

_HEXADECIMAL = re.compile("(?:[0-9a-f]{2})+")


@dataclass(frozen=True)
class PriorAncestor:
    """A bundle whose prior lies, bit for bit, in the first rows of a descendant's.

    Attributes:
        model_id: by which its compressed files ask for it, hexadecimal; see `codec_model.PriorModel.model_id`.
        vocab_size: its ids; later ones are the descendant's own.
        codes_fingerprint: of its image tokenizer.
        decoder_fingerprint: of its image tokenizer.
    """

    model_id: str
    vocab_size: int
    codes_fingerprint: str
    decoder_fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """As vocabulary.json holds it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Any) -> PriorAncestor:
        """The inverse of `to_json`.

        Raises:
            InputError: the content is malformed.
        """
        if not isinstance(content, Mapping) or {*content} != {*cls.__dataclass_fields__}:
            raise InputError(f"an ancestor must have {', '.join(cls.__dataclass_fields__)}, got {content!r}")
        ancestor = cls(**content)
        words = [ancestor.model_id, ancestor.codes_fingerprint, ancestor.decoder_fingerprint]
        if not all(isinstance(word, str) for word in words) or not _HEXADECIMAL.fullmatch(ancestor.model_id):
            raise InputError(f"model_id and fingerprints of an ancestor must be hexadecimal, got {words}")
        if type(ancestor.vocab_size) is not int:
            raise InputError(f"vocab_size of an ancestor must be a whole number, got {ancestor.vocab_size!r}")
        return ancestor


def check_prior_ancestors(ancestors: Sequence[PriorAncestor], borders: Sequence[int]) -> None:
    """Ancestors are ordered by age and end where a segment of the descendant ends.

    Args:
        ancestors: oldest first.
        borders: the first id behind each segment of the descendant; the last is its own vocabulary's size.

    Raises:
        InputError: they are not.
    """
    sizes = [ancestor.vocab_size for ancestor in ancestors]
    if sizes != sorted(set(sizes)) or not {*sizes} <= {*borders[:-1]}:
        raise InputError(f"ancestors have {sizes} ids, expected ascending ends of segments, of {list(borders[:-1])}")
