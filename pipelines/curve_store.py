"""Points of curves in a file, so that an evaluation that was killed does not measure them again."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ..hub.errors import InputError
from ..hub.files import finite, read_json_object, write_json
from .curve_points import Point

AnyPoint = TypeVar("AnyPoint", bound=Point)


class PointStore:
    """Groups of points by name.

    Args:
        path: JSON file, new or of an evaluation with the same protocol.
        protocol: what all figures depend on.

    Raises:
        InputError: the file belongs to another evaluation, or is damaged.
    """

    def __init__(self, path: Path, protocol: dict[str, Any]):
        self.path, self.protocol = path, protocol
        self._groups: dict[str, list[dict[str, Any]]] = {}
        if path.exists():
            stored = read_json_object(path)
            if (found := stored.get("protocol")) != protocol:
                raise InputError(f"{path} holds points of {found}, not {protocol}; give another folder")
            self._groups = stored["groups"]

    def get(self, name: str, kind: type[AnyPoint], measure: Callable[[], Sequence[AnyPoint]]) -> list[AnyPoint]:
        """The points of that name, measured if they are not there."""
        if name not in self._groups:
            self._groups[name] = [asdict(point) for point in measure()]
            write_json(self.path, {"protocol": self.protocol, "groups": finite(self._groups)})
        return [kind(**_with_infinity(point)) for point in self._groups[name]]


def _with_infinity(point: dict[str, Any]) -> dict[str, Any]:
    """JSON has null for the PSNR of perfect copies."""
    return point | ({"psnr": math.inf} if point["psnr"] is None else {})
