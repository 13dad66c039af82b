"""Segments: the runs of ids that a joint vocabulary is made of, and the strings of its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from ..hub.errors import InputError

PAD, BOS, EOS, NULL, IMAGE_END = "<pad>", "<bos>", "<eos>", "<null>", "</image>"
CONTROL_TOKENS = (PAD, BOS, EOS, NULL, IMAGE_END)


@dataclass(frozen=True)
class Segment:
    """A run of ids with one meaning.

    Attributes:
        kind: "text", "control" or "image".
        start: first id.
        count: number of ids.
        level: the level whose codes these are; image segments only.
        first_code: the code that id `start` stands for; image segments only.
        tokens: the names of the ids; control segments only.
        reserved: runs (first id, count) of ids that stand for no text; text segments only.
    """

    kind: str
    start: int
    count: int
    level: int = -1
    first_code: int = -1
    tokens: tuple[str, ...] = ()
    reserved: tuple[tuple[int, int], ...] = ()

    @property
    def stop(self) -> int:
        """One past the last id."""
        return self.start + self.count

    def to_json(self) -> dict[str, Any]:
        """The segment as `vocabulary.json` holds it, without the fields that its kind lacks."""
        content: dict[str, Any] = {"kind": self.kind, "start": self.start, "count": self.count}
        if self.kind == "image":
            content |= {"level": self.level, "first_code": self.first_code}
        if self.kind == "control":
            content["ids"] = {token: self.start + index for index, token in enumerate(self.tokens)}
        if self.reserved:
            content["reserved"] = [list(run) for run in self.reserved]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Segment:
        """The inverse of `to_json`.

        Raises:
            InputError: a field is no whole number, or the control ids do not count up.
        """
        fields = ("start", "count", "level", "first_code")
        numbers = {name: content[name] for name in fields if name in content}
        reserved = tuple((first, count) for first, count in content.get("reserved", []))
        if any(type(number) is not int for number in [*numbers.values(), *chain(*reserved)]):
            raise InputError(f"segment {dict(content)} must hold whole numbers")
        ids: dict[str, int] = content.get("ids", {})
        segment = cls(content["kind"], **numbers, tokens=tuple(ids), reserved=reserved)
        if list(ids.values()) != list(range(segment.start, segment.start + len(ids))):
            raise InputError(f"control ids {ids} do not count up from {segment.start}")
        return segment


def image_start_token(size: str) -> str:
    """`<image HxW>`, the control token that opens an image of that size."""
    return f"<image {size}>"


def image_token(level: int, code: int) -> str:
    """The token string of a code, such as `<|0:00012|>`. Files need it; our own code never parses it."""
    return f"<|{level}:{code:05d}|>"


def id_runs(ids: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """The ids as runs (first id, count), ascending.

    Example:
        >>> id_runs([7, 1, 2, 3])
        ((1, 3), (7, 1))
    """
    runs: list[tuple[int, int]] = []
    for id_ in sorted(set(ids)):
        first, count = runs[-1] if runs else (id_, 0)
        if id_ == first + count:
            runs[-1:] = [(first, count + 1)]
        else:
            runs.append((id_, 1))
    return tuple(runs)


def check_segments(segments: Sequence[Segment]) -> None:
    """Segments are complete: ids and each level's codes run on without gaps or overlaps.

    Raises:
        InputError: they are not.
    """
    if [segment.kind for segment in segments[:2]] != ["text", "control"]:
        raise InputError("a vocabulary begins with a text segment and a control segment")
    _check_reserved(segments)
    next_id, next_codes = 0, dict[int, int]()
    for segment in segments:
        if segment.start != next_id or segment.count < 1:
            raise InputError(f"segment {segment.to_json()} must start at id {next_id} and hold at least one id")
        next_id = segment.stop
        if segment.kind == "image":
            if segment.first_code != next_codes.get(segment.level, 0):
                raise InputError(f"segment {segment.to_json()} must go on with code {next_codes.get(segment.level, 0)}")
            next_codes[segment.level] = segment.first_code + segment.count
        elif segment.kind == "control" and len(segment.tokens) != segment.count:
            raise InputError(f"segment {segment.to_json()} must name each of its {segment.count} ids")
        elif segment.kind not in ("text", "control") or (segment.kind == "text" and segment.start > 0):
            raise InputError(f"segment {segment.to_json()}: expected a control or image segment after the text")
    if not next_codes or sorted(next_codes) != list(range(len(next_codes))):
        raise InputError(f"image levels are {sorted(next_codes)}, expected 0, 1, ... without a gap")


def _check_reserved(segments: Sequence[Segment]) -> None:
    """Reserved runs ascend within the text, apart from each other, and leave an id for text."""
    text = segments[0]
    if any(segment.reserved for segment in segments[1:]):
        raise InputError("only the text segment has reserved ids")
    borders = [0, *(border for first, count in text.reserved for border in (first, first + count)), text.stop]
    empty = any(count < 1 for _, count in text.reserved)
    if empty or borders != sorted(borders) or sum(count for _, count in text.reserved) >= max(1, text.count):
        raise InputError(
            f"reserved ids of the text are {list(text.reserved)}, expected ascending runs (first id, count) below "
            f"{text.stop}, and some ids left"
        )
