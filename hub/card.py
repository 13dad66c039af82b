"""Cards: a README.md whose figures are measured, not typed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .files import atomic_write_text
from .repository import is_hub_name
from .staging import stage

CARD_NAME = "README.md"

_UNCHANGED = (
    "<!-- As pictogram wrote it: a push writes it anew. Change anything, and it goes up as it is. {digest} -->\n"
)


def card_text(metadata: Mapping[str, Any], body: str) -> str:
    """A card: metadata as the YAML that the Hub reads, then Markdown.

    Args:
        metadata: JSON-serialisable, in this order.
        body: Markdown.
    """
    from huggingface_hub import CardData

    return f"---\n{CardData(**metadata).to_yaml()}\n---\n\n{body.strip()}\n"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    r"""A table whose cells may hold anything.

    Example:
        >>> print(markdown_table(["file", "why"], [["a|b.png", "no\npicture"]]))
        | file | why |
        |---|---|
        | a\|b.png | no picture |
    """
    lines = [f"| {' | '.join(map(_cell, cells))} |" for cells in (header, *rows)]
    lines.insert(1, "|" + "---|" * len(header))
    return "\n".join(lines)


def write_draft_card(directory: str | os.PathLike[str], card: str) -> None:
    """Writes a card into a folder that has no name on the Hub yet, with a last line that tells whether it was changed.

    Args:
        directory: any folder.
        card: see `card_text`.
    """
    atomic_write_text(Path(directory) / CARD_NAME, f"{card}\n{_last_line(card)}")


def has_draft_card(folder: Path) -> bool:
    """Whether the folder's README.md is as `write_draft_card` wrote it; a changed one is somebody's own."""
    path = folder / CARD_NAME
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    card, _, line = text.rpartition("\n<!--")
    return f"<!--{line}" == _last_line(card)


def stage_card(folder: Path, staging: Path, write: Callable[[], str]) -> None:
    """Puts the folder's own README.md into a staging folder, or, if it has none or a draft, the card of `write`."""
    own = folder / CARD_NAME
    if own.is_file() and not has_draft_card(folder):
        stage(own, staging / CARD_NAME)
    else:
        atomic_write_text(staging / CARD_NAME, write())


def public_name(name: str) -> str:
    """A name for other people: one on the Hub as it is, of a path the last part, since the rest is this machine's.

    Example:
        >>> public_name("owner/name"), public_name("/home/me/photos/")
        ('owner/name', 'photos')
    """
    return name if is_hub_name(name) else Path(name).name


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", r"\|")


def _last_line(card: str) -> str:
    return _UNCHANGED.format(digest=hashlib.sha256(card.encode("utf-8")).hexdigest()[:16])
