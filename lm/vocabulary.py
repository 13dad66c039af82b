"""The joint vocabulary: text pieces, control tokens and every level's codes in one id space.

From scratch the layout is `[text | control | level 0 | level 1 | ...]`. Ids never move: grown codes and new sizes
append further segments. An image id is plain arithmetic on segments, never a string lookup, so nothing a user types can
become one.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch

from ..hub.errors import InputError
from ..hub.files import read_json, write_json
from .order import Grids, checked_grids
from .prior_ancestors import PriorAncestor, check_prior_ancestors
from .segments import (
    BOS,
    CONTROL_TOKENS,
    EOS,
    IMAGE_END,
    NULL,
    PAD,
    Segment,
    check_segments,
    id_runs,
    image_start_token,
    image_token,
)
from .sizes import check_sizes, name_sizes, size_name, spell_grids

VOCABULARY_FILE = "vocabulary.json"
FORMAT = 1

TEXT_FILES = ("tokenizer.model", "tokenizer.json")
"""Where a text tokenizer may lie beside the vocabulary: in the first our own, in the second another model's."""

# Written into vocabulary.json, so that the file alone is enough to build and read documents.
ABOUT = (
    "id = start + (code - first_code) in the image segment of that level which holds the code; text ids are the text "
    "tokenizer's own.",
    "text tokenizer = text_file; of tokenizer.json only the tokens of the text segment. Its reserved runs (first id, "
    "count) are special or unused tokens of that tokenizer and never stand in a document.",
    "document = <bos> (text | <null> | image)* <eos>, then <pad>; after <null> only an image may follow.",
    "image = <image HxW> codes </image>; sizes[HxW] lists the grids (rows, columns), one per level, level 0 first.",
    "order level: all codes of level 0 in raster order, then all of level 1, and so on.",
    "order pyramid: every code of level 0 in raster order, each directly followed by its children: the block of level 1"
    " that it covers, in raster order, each again directly followed by its own children.",
)


@dataclass(frozen=True)
class JointVocabulary:
    """The id space of a joint language model. Immutable: `add_codes` and `add_size` return a longer vocabulary.

    Attributes:
        segments: in order of their ids, without gaps. The first and only text segment starts at 0.
        sizes: grids of every registered size, by name.
        order: "level" or "pyramid", see `lm/order.py`.
        codes_fingerprint: of the image tokenizer that gives the codes; empty if unknown.
        decoder_fingerprint: of the image tokenizer that draws them; empty if unknown.
        text_file: name of the file beside the vocabulary that holds the text tokenizer, one of `TEXT_FILES`.
        ancestors: bundles that the vocabulary's bundle was grown from and still holds unchanged, oldest first.

    Raises:
        InputError: overlapping or missing segments, unknown order or text file, sizes that do not fit the levels, or
            ancestors that end within a segment.
    """

    segments: tuple[Segment, ...]
    sizes: Mapping[str, Grids]
    order: str = "level"
    codes_fingerprint: str = ""
    decoder_fingerprint: str = ""
    text_file: str = TEXT_FILES[0]
    ancestors: tuple[PriorAncestor, ...] = ()

    def __post_init__(self):
        check_segments(self.segments)
        check_prior_ancestors(self.ancestors, [segment.stop for segment in self.segments])
        check_sizes(self.sizes, self.order, self.num_levels, [name for s in self.segments for name in s.tokens])
        if self.text_file not in TEXT_FILES:
            raise InputError(f"text_file is {self.text_file!r}, expected one of {', '.join(TEXT_FILES)}")

    @classmethod
    def from_scratch(
        cls,
        text_vocab_size: int,
        codebook_sizes: Sequence[int],
        sizes: Sequence[Sequence[Sequence[int]]],
        order: str = "level",
        *,
        codes_fingerprint: str = "",
        decoder_fingerprint: str = "",
        text_file: str = TEXT_FILES[0],
        reserved_text_ids: Iterable[int] = (),
    ) -> JointVocabulary:
        """Lays out a new vocabulary.

        Args:
            text_vocab_size: number of text ids.
            codebook_sizes: number of codes per level, coarse to fine.
            sizes: the grids of every image size, coarse to fine: `[[(1, 1), (4, 4)]]` is one size of two levels.
            order: order of the codes in documents.
            codes_fingerprint: see the class.
            decoder_fingerprint: see the class.
            text_file: see the class.
            reserved_text_ids: text ids that never stand in a document.

        Raises:
            InputError: see the class.
        """
        named = name_sizes([checked_grids(grids) for grids in sizes])
        controls = (*CONTROL_TOKENS, *map(image_start_token, named))
        segments = [
            Segment("text", 0, text_vocab_size, reserved=id_runs(reserved_text_ids)),
            Segment("control", text_vocab_size, len(controls), tokens=controls),
        ]
        for level, count in enumerate(codebook_sizes):
            segments.append(Segment("image", segments[-1].stop, count, level=level, first_code=0))
        return cls(tuple(segments), named, order, codes_fingerprint, decoder_fingerprint, text_file)

    def add_codes(self, level: int, count: int) -> JointVocabulary:
        """Appends ids for `count` codes that follow the level's last one. Set the new fingerprints with `replace`."""
        first_code = self.codebook_sizes[self._checked_level(level)]
        segment = Segment("image", self.vocab_size, count, level=level, first_code=first_code)
        return replace(self, segments=(*self.segments, segment))

    def add_size(self, grids: Sequence[Sequence[int]]) -> JointVocabulary:
        """Appends the control token of one more image size; a size that is there already changes nothing."""
        grids = checked_grids(grids)
        named = name_sizes([*self.sizes.values(), *([] if grids in self.sizes.values() else [grids])])
        if len(named) == len(self.sizes):
            return self
        segment = Segment("control", self.vocab_size, 1, tokens=(image_start_token(size_name(grids)),))
        return replace(self, segments=(*self.segments, segment), sizes=named)

    @property
    def vocab_size(self) -> int:
        """Number of ids; every id below it is a token."""
        return self.segments[-1].stop

    @property
    def num_levels(self) -> int:
        """Number of levels of image codes."""
        return len(self.codebook_sizes)

    @cached_property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes per level, grown ones included."""
        images = [segment for segment in self.segments if segment.kind == "image"]
        levels = range(1 + max(segment.level for segment in images))
        return tuple(sum(segment.count for segment in images if segment.level == level) for level in levels)

    @property
    def text_range(self) -> range:
        """The text tokenizer's ids, reserved ones included."""
        return range(self.segments[0].start, self.segments[0].stop)

    @cached_property
    def reserved_text_ids(self) -> frozenset[int]:
        """The ids of `text_range` that never stand in a document."""
        return frozenset(id_ for first, count in self.segments[0].reserved for id_ in range(first, first + count))

    def is_text(self, id_: int) -> bool:
        """Whether `id_` may stand in a text."""
        return id_ in self.text_range and id_ not in self.reserved_text_ids

    @cached_property
    def control_ids(self) -> dict[str, int]:
        """The id of every control token."""
        return {token: segment.start + index for segment in self.segments for index, token in enumerate(segment.tokens)}

    @property
    def pad_id(self) -> int:
        """`<pad>`: fills rows of a batch, never part of a document."""
        return self.control_ids[PAD]

    @property
    def bos_id(self) -> int:
        """`<bos>`: begins every document."""
        return self.control_ids[BOS]

    @property
    def eos_id(self) -> int:
        """`<eos>`: ends every document."""
        return self.control_ids[EOS]

    @property
    def null_id(self) -> int:
        """`<null>`: stands where a caption would, for an image without words."""
        return self.control_ids[NULL]

    @property
    def image_end_id(self) -> int:
        """`</image>`: ends every image."""
        return self.control_ids[IMAGE_END]

    def image_start_id(self, size: str) -> int:
        """The id of `<image HxW>` for a size name such as "4x4".

        Raises:
            InputError: the size is not registered.
        """
        return self.control_ids[image_start_token(self._checked_size(size))]

    def grids(self, size: str) -> Grids:
        """The grids of a size, coarse to fine.

        Raises:
            InputError: the size is not registered.
        """
        return self.sizes[self._checked_size(size)]

    def size_of(self, grids: Sequence[Sequence[int]]) -> str:
        """The name of the size with these grids.

        Raises:
            InputError: there is none.
        """
        grids = checked_grids(grids)
        name = size_name(grids)
        if self.sizes.get(name) != grids:
            known = "; ".join(f"{name}: {spell_grids(grids)}" for name, grids in self.sizes.items())
            raise InputError(f"images with grids {spell_grids(grids)} are not in the vocabulary, which knows {known}")
        return name

    @overload
    def codes_to_ids(self, level: int, codes: int) -> int: ...
    @overload
    def codes_to_ids(self, level: int, codes: torch.Tensor) -> torch.Tensor: ...
    def codes_to_ids(self, level: int, codes: int | torch.Tensor) -> int | torch.Tensor:
        """Ids of codes of one level; a LongTensor of any shape, or one int.

        Raises:
            InputError: a code is outside the level's codebook, or there is no such level.
        """
        if isinstance(codes, int):
            return int(self.codes_to_ids(level, torch.tensor(codes)))
        segments = self._level_segments(level, codes.device)
        count = self.codebook_sizes[level]
        if codes.numel() and not 0 <= int(codes.min()) <= int(codes.max()) < count:
            raise InputError(f"codes of level {level} are {int(codes.min())} to {int(codes.max())}, but it has {count}")
        at = torch.bucketize(codes.contiguous(), segments.first_codes, right=True) - 1
        return codes - segments.first_codes[at] + segments.starts[at]

    @overload
    def ids_to_codes(self, level: int, ids: int) -> int: ...
    @overload
    def ids_to_codes(self, level: int, ids: torch.Tensor) -> torch.Tensor: ...
    def ids_to_codes(self, level: int, ids: int | torch.Tensor) -> int | torch.Tensor:
        """Codes of ids of one level, the inverse of `codes_to_ids`.

        Raises:
            InputError: an id is not one of this level, or there is no such level.
        """
        if isinstance(ids, int):
            return int(self.ids_to_codes(level, torch.tensor(ids)))
        segments = self._level_segments(level, ids.device)
        at = (torch.bucketize(ids.contiguous(), segments.starts, right=True) - 1).clamp(min=0)
        offsets = ids - segments.starts[at]
        wrong = (offsets < 0) | (offsets >= segments.counts[at])
        if wrong.any():
            raise InputError(f"{self.describe(int(ids[wrong][0]))} is not a code of level {level}")
        return offsets + segments.first_codes[at]

    def level_ids(self, level: int) -> torch.Tensor:
        """The ids of all codes of a level in order of their codes, LongTensor (codebook size,); they ascend."""
        return self.codes_to_ids(level, torch.arange(self.codebook_sizes[self._checked_level(level)]))

    def tokens(self) -> list[str]:
        """The token strings of all ids behind the text ids, in order: controls by name, codes as `<|level:code|>`."""
        strings: list[str] = []
        for segment in self.segments[1:]:
            codes = range(segment.first_code, segment.first_code + segment.count)
            strings += segment.tokens or [image_token(segment.level, code) for code in codes]
        return strings

    def describe(self, id_: int) -> str:
        """What an id stands for, for messages: `id 12 (<bos>)`."""
        if not 0 <= id_ < self.vocab_size:
            return f"id {id_} (outside the vocabulary of {self.vocab_size})"
        segment = next(segment for segment in self.segments if id_ < segment.stop)
        offset = id_ - segment.start
        if segment.kind == "image":
            return f"id {id_} ({image_token(segment.level, segment.first_code + offset)})"
        text = "reserved" if id_ in self.reserved_text_ids else "text"
        return f"id {id_} ({segment.tokens[offset] if segment.tokens else text})"

    def to_json(self) -> dict[str, Any]:
        """The content of `vocabulary.json`."""
        ancestors = {"ancestors": [ancestor.to_json() for ancestor in self.ancestors]} if self.ancestors else {}
        return {
            "format": FORMAT,
            "about": list(ABOUT),
            "vocab_size": self.vocab_size,
            "order": self.order,
            "sizes": {name: [list(grid) for grid in grids] for name, grids in self.sizes.items()},
            "text_file": self.text_file,
            "segments": [segment.to_json() for segment in self.segments],
            "codes_fingerprint": self.codes_fingerprint,
            "decoder_fingerprint": self.decoder_fingerprint,
            **ancestors,
        }

    @classmethod
    def from_json(cls, content: Any) -> JointVocabulary:
        """The inverse of `to_json`.

        Raises:
            InputError: the content is malformed, of another format, or contradicts itself.
        """
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, dict) else type(content).__name__
            raise InputError(
                f"the vocabulary has format {found!r}, but this version of pictogram reads format {FORMAT}"
            )
        try:
            vocabulary = cls(
                segments=tuple(Segment.from_json(segment) for segment in content["segments"]),
                sizes={name: checked_grids(grids) for name, grids in content["sizes"].items()},
                order=content["order"],
                codes_fingerprint=str(content["codes_fingerprint"]),
                decoder_fingerprint=str(content["decoder_fingerprint"]),
                text_file=content.get("text_file", TEXT_FILES[0]),
                ancestors=tuple(map(PriorAncestor.from_json, content.get("ancestors", ()))),
            )
        except KeyError as error:
            raise InputError(f"the vocabulary is malformed: it lacks {error}") from None
        except (TypeError, AttributeError, ValueError) as error:
            raise InputError(f"the vocabulary is malformed: {error}") from None
        if content.get("vocab_size") != vocabulary.vocab_size:
            said, found = content.get("vocab_size"), vocabulary.vocab_size
            raise InputError(f"the vocabulary says vocab_size {said}, but its segments end at {found}")
        return vocabulary

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes `vocabulary.json` into `directory`."""
        write_json(Path(directory) / VOCABULARY_FILE, self.to_json())

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> JointVocabulary:
        """Reads `vocabulary.json` from `directory`.

        Raises:
            InputError: the file is missing, or see `from_json`.
        """
        return cls.from_json(read_json(Path(directory) / VOCABULARY_FILE))

    def _checked_level(self, level: int) -> int:
        if not 0 <= level < self.num_levels:
            raise InputError(f"level {level} does not exist; levels are 0 to {self.num_levels - 1}")
        return level

    def _checked_size(self, size: str) -> str:
        if size not in self.sizes:
            raise InputError(f"image size {size!r} is not in the vocabulary; known sizes: {', '.join(self.sizes)}")
        return size

    @cached_property
    def _segments_of_levels(self) -> list[_LevelSegments]:
        by_level = [
            [s for s in self.segments if s.kind == "image" and s.level == level] for level in range(self.num_levels)
        ]
        return [
            _LevelSegments(
                starts=torch.tensor([segment.start for segment in segments]),
                counts=torch.tensor([segment.count for segment in segments]),
                first_codes=torch.tensor([segment.first_code for segment in segments]),
            )
            for segments in by_level
        ]

    def _level_segments(self, level: int, device: torch.device) -> _LevelSegments:
        segments = self._segments_of_levels[self._checked_level(level)]
        return _LevelSegments(segments.starts.to(device), segments.counts.to(device), segments.first_codes.to(device))


@dataclass(frozen=True, eq=False)
class _LevelSegments:
    """The segments of one level as LongTensors (number of segments,); ids and codes ascend alike."""

    starts: torch.Tensor
    counts: torch.Tensor
    first_codes: torch.Tensor
