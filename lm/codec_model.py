"""What a compressed file needs to be read again: a model of its codes, and the name by which the file asks for it."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from ..hub.errors import InputError
from ..hub.fingerprint import fingerprint
from .bundle import Bundle
from .code_chances import CodeChances, PriorChances
from .coding_prior import coding_prior
from .fused_prior import FusedPrior
from .order import Grids
from .static_chances import StaticChances

MODEL_ID_BYTES = 4


class CodecModel(Protocol):
    """Chances of codes under a name."""

    @property
    def model_id(self) -> bytes:
        """The first bytes of the model's fingerprint."""
        ...

    def chances(self, grids: Grids) -> CodeChances:
        """Of pictures with these grids."""
        ...

    def estimates(self, grids: Grids) -> CodeChances:
        """Nearly the same, at less cost: to choose codes by, not to write them."""
        ...


class PriorModel:
    """The prior of a bundle.

    Args:
        bundle: its prior must be one that `coding_prior` takes.
    """

    def __init__(self, bundle: Bundle):
        self._bundle = bundle

    @property
    def model_id(self) -> bytes:
        """See `CodecModel`: of the prior, its vocabulary, and through that of the image tokenizer."""
        return _id(self._bundle.fingerprint)

    @cached_property
    def _prior(self) -> FusedPrior:
        return coding_prior(self._bundle.prior)

    def chances(self, grids: Grids) -> CodeChances:
        """See `CodecModel`.

        Raises:
            InputError: the prior cannot be used for compression, or has no pictures of this size.
        """
        return self._chances(self._prior, grids)

    def estimates(self, grids: Grids) -> CodeChances:
        """See `CodecModel`: in the precision of the prior's own weights.

        Raises:
            InputError: see `chances`.
        """
        fused = FusedPrior.of(self._bundle.prior)
        return self._chances(fused or self._prior, grids)

    def _chances(self, prior: FusedPrior, grids: Grids) -> CodeChances:
        vocabulary = self._bundle.vocabulary
        places = self._bundle.prior.config.max_position_embeddings
        return PriorChances(prior, vocabulary, vocabulary.size_of(grids), places)


class StaticModel:
    """The tables of a bundle, see `StaticChances`.

    Args:
        bundle: its folder has them.

    Raises:
        InputError: there are none, or of other codebooks.
    """

    def __init__(self, bundle: Bundle):
        if bundle.static_chances is None:
            raise InputError(
                f"{bundle.name or 'the bundle'} has no tables of codes; "
                "`pictogram count-codes` makes them from a dataset of codes"
            )
        self._tables, self._vocabulary = bundle.static_chances, bundle.vocabulary
        sizes = tuple(table.shape[1] for table in self._tables.frequencies)
        if sizes != self._vocabulary.codebook_sizes:
            raise InputError(
                f"the tables are of codebooks of {sizes} codes, but the bundle has {self._vocabulary.codebook_sizes}"
            )

    @property
    def model_id(self) -> bytes:
        """See `CodecModel`."""
        tensors = {f"level_{level}": table for level, table in enumerate(self._tables.frequencies)}
        settings = {"grids": self._tables.grids, "order": self._tables.order}
        names = ("codes_fingerprint", "decoder_fingerprint")
        prints = {name: getattr(self._vocabulary, name) for name in names}
        return _id(fingerprint(tensors, settings | prints))

    def chances(self, grids: Grids) -> StaticChances:
        """See `CodecModel`.

        Raises:
            InputError: the tables are of pictures of another size.
        """
        if grids != self._tables.grids:
            raise InputError(f"the tables are of pictures with grids {self._tables.grids}, got {grids}")
        return self._tables

    def estimates(self, grids: Grids) -> StaticChances:
        """See `CodecModel`: the tables themselves."""
        return self.chances(grids)


def _id(digits: str) -> bytes:
    return bytes.fromhex(digits)[:MODEL_ID_BYTES]
