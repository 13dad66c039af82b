"""A Python that has torch, transformers, pillow and what these need, and nothing else: no pictogram above all."""

import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_START = "import sys\nsys.path.append(sys.argv.pop(1))\n"


@dataclass(frozen=True)
class StockPython:
    """An environment of links to those installed distributions that are needed."""

    packages: Path

    @classmethod
    def make(cls, packages: Path) -> "StockPython":
        """Fills a new folder with the links."""
        packages.mkdir(parents=True)
        for name in _needed("torch", "transformers", "pillow"):
            distribution = importlib.metadata.distribution(name)
            for top in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
                if not (packages / top).exists():
                    (packages / top).symlink_to(str(distribution.locate_file(top)))
        return cls(packages)

    def command(self, code: str, *arguments: str) -> list[str]:
        """Runs code, with `arguments` in `sys.argv[1:]`; `-S` leaves out all that is installed, editable or not."""
        return [sys.executable, "-I", "-S", "-c", _START + code, str(self.packages), *arguments]


def _needed(*names: str) -> set[str]:
    """These distributions and all that they require on this machine, without extras."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            required = map(Requirement, importlib.metadata.requires(name) or ())
            waiting += [one.name for one in required if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found
