"""How likely each code of a picture is: what a coder asks of a prior, or of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Protocol

import torch

from ..hub.errors import InputError
from .documents import text_to_image_prompt
from .fused_decoder import FusedDecoding
from .fused_prior import FusedPrior
from .image_sampler import as_columns
from .order import document_order
from .vocabulary import JointVocabulary

_NUMBERS_AT_ONCE = 1 << 21
"""16 MB of float64."""


class CodeChances(Protocol):
    """Chances of the codes of pictures of one size, in document order."""

    @property
    def levels(self) -> Sequence[int]:
        """Of each of the N codes of a picture."""
        ...

    def of_codes(self, codes: torch.Tensor) -> Iterator[torch.Tensor]:
        """Chances of codes that are known, all places in their order.

        Args:
            codes: (B, M) int64, the first M codes of each picture.

        Yields:
            (B, n, K) float64, of n places of one level each time.
        """
        ...

    def reader(self, count: int) -> CodeReader:
        """Chances of codes that are not known yet, of `count` pictures."""
        ...


class CodeReader(Protocol):
    """Pictures whose codes become known one after the other."""

    def chances(self) -> torch.Tensor:
        """(B, K) float64 of the next place."""
        ...

    def append(self, codes: torch.Tensor) -> None:
        """(B,) int64, the codes of that place."""
        ...


class PriorChances:
    """Chances by a prior, given all codes before and no words.

    Args:
        prior: see `coding_prior`.
        vocabulary: of its ids.
        size: name of the pictures' size.
        context_length: places that the prior has.

    Raises:
        InputError: a size that the vocabulary lacks, or pictures too long for the prior.
    """

    def __init__(self, prior: FusedPrior, vocabulary: JointVocabulary, size: str, context_length: int):
        self.prior, self.vocabulary = prior, vocabulary
        self.levels: list[int] = document_order(vocabulary.grids(size), vocabulary.order).levels.tolist()
        self.prompt = text_to_image_prompt(vocabulary, (), size)
        if len(self.prompt) + len(self.levels) > context_length:
            raise InputError(
                f"a picture takes {len(self.prompt) + len(self.levels)} places, but the prior has {context_length}"
            )
        columns = map(vocabulary.level_ids, range(vocabulary.num_levels))
        self._ids = [as_columns(ids, ids.device) for ids in columns]

    def of_codes(self, codes: torch.Tensor) -> Iterator[torch.Tensor]:
        """See `CodeChances`: one pass for each run of places of one level, in parts that fit into memory."""
        reader = self.reader(len(codes))
        for first, last in self._runs(codes):
            part = codes[:, first:last]
            chances = reader.chances()[:, None]
            if last - first > 1:
                reader.append_all(part[:, :-1])
                chances = torch.cat([chances, reader.all_chances()], 1)
            reader.append(part[:, -1])
            yield chances

    def reader(self, count: int) -> PriorReader:
        """See `CodeChances`."""
        return PriorReader(self, count)

    def ids(self, level: int) -> torch.Tensor | slice:
        """The ids of a level's codes, in the codes' order."""
        return self._ids[level]

    def _runs(self, codes: torch.Tensor) -> Iterator[tuple[int, int]]:
        """First place and the one behind the last of runs of places of one level that fit into memory."""
        first = 0
        for level, places in groupby(self.levels[: codes.shape[1]]):
            stop = first + len(list(places))
            attention = self.prior.num_heads * (len(self.prompt) + len(self.levels))  # numbers a place
            most = max(1, _NUMBERS_AT_ONCE // (len(codes) * max(attention, self.vocabulary.codebook_sizes[level])))
            while first < stop:
                yield first, min(stop, first + most)
                first = min(stop, first + most)


class PriorReader:
    """See `CodeReader`. The code that came last is read only when what follows it is asked for.

    Args:
        chances: whose.
        count: B pictures.
    """

    @torch.inference_mode()
    def __init__(self, chances: PriorChances, count: int):
        self._of, self._place = chances, 0
        prompt = torch.tensor([chances.prompt])
        self._decoding = FusedDecoding(chances.prior, prompt, torch.zeros(1, dtype=torch.int64), len(chances.levels))
        self._decoding.select(torch.zeros(count, dtype=torch.int64))
        self._last: torch.Tensor | None = None

    @torch.inference_mode()
    def chances(self) -> torch.Tensor:
        """See `CodeReader`."""
        if self._last is not None:
            self._decoding.append(self._last)
            self._last = None
        return self.all_chances()[:, -1]

    @torch.inference_mode()
    def all_chances(self) -> torch.Tensor:
        """(B, M, K) after each of the M codes read last, for codes of the next place's level."""
        level = self._of.levels[self._place]
        return torch.softmax(self._decoding.logits(self._of.ids(level)), -1)

    def append(self, codes: torch.Tensor) -> None:
        """See `CodeReader`."""
        self._last = self._to_ids(codes[:, None])
        self._place += 1

    @torch.inference_mode()
    def append_all(self, codes: torch.Tensor) -> None:
        """(B, M) codes of M places of one level."""
        self._decoding.append(self._to_ids(codes))
        self._place += codes.shape[1]

    def _to_ids(self, codes: torch.Tensor) -> torch.Tensor:
        ids = self._of.ids(self._of.levels[self._place])
        return codes + ids.start if isinstance(ids, slice) else ids[codes]
