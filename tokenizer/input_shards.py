"""What a source of pictures is cut into before it becomes codes: input shards, read row by row.

An input shard is the unit of work: it becomes one file of codes. It is a range of rows of a source that can be read in
any order, an archive, or one shard of a streamed dataset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from datasets import Features


@dataclass(frozen=True)
class InputRow:
    """A picture that has not been decoded yet, and what comes with it.

    Attributes:
        key: its stable name, unique in the source.
        picture: what an image column holds, `{"bytes": content or None, "path": file or None}`.
        captions: at least one; the empty text where there is none.
        values: the source's other columns.
    """

    key: str
    picture: Any
    captions: list[str]
    values: Mapping[str, Any]


@dataclass(frozen=True)
class LostRow:
    """A row that cannot be read from its source.

    Attributes:
        key: its stable name, or that of the shard where reading ended.
        reason: one line.
    """

    key: str
    reason: str


@dataclass(frozen=True)
class InputShard:
    """A part of a source that is read from its beginning to its end.

    Attributes:
        name: for messages.
        num_rows: rows in it; None if only reading tells.
        rows: starts reading.
    """

    name: str
    num_rows: int | None
    rows: Callable[[], Iterator[InputRow | LostRow]]


class CodesSource(Protocol):
    """Where pictures come from: `ImageSource`, `TarSource` and `StreamSource`."""

    @property
    def name(self) -> str:
        """What the user called it, for messages."""
        ...

    @property
    def features(self) -> Features:
        """Types of all columns."""
        ...

    @property
    def image_column(self) -> str:
        """Name of the column with the pictures."""
        ...

    @property
    def caption_column(self) -> str | None:
        """Name of the column that became the captions; None if they come from elsewhere or there are none."""
        ...

    @property
    def has_several_captions(self) -> bool:
        """Whether a row may have more than one caption."""
        ...

    def input_shards(self, rows_per_shard: int) -> list[InputShard]:
        """All of it, in order. `rows_per_shard` counts only where rows can be read in any order."""
        ...

    def identity(self) -> dict[str, Any]:
        """JSON values that two runs over the same pictures have in common, and others hardly."""
        ...

    def captions_identity(self) -> dict[str, Any]:
        """The same of their captions; nothing where `identity` says all, or only reading tells."""
        ...
