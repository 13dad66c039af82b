"""What the web app remembers of one visitor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..hub.errors import InputError
from .app_actions import DrawnPicture


@dataclass(frozen=True, eq=False)
class Session:
    """The pictures that were drawn last.

    Attributes:
        drawn: all of them.
        chosen: number of the one that other tabs take.
    """

    drawn: Sequence[DrawnPicture] = ()
    chosen: int = 0


def take(session: Session, place: str) -> Session:
    """The same with another picture chosen; `place` is what a browser says, its number."""
    number = int(place) if place.isdecimal() else 0
    return replace(session, chosen=number if number < len(session.drawn) else 0)


def chosen_picture(session: Session) -> DrawnPicture:
    """The picture that other tabs take.

    Raises:
        InputError: nothing was drawn.
    """
    if not session.drawn:
        raise InputError("nothing is drawn yet: draw a picture first, or upload one")
    return session.drawn[session.chosen]
