"""Tutorials as programs: the blocks of a page, run in order as one bash script, and what they are said to print."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)[^\n]*$")
_REMARK = re.compile(r"^<!-- (not run|may differ): (.+) -->$")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_MARK = "@@ block"
_PYTHON = "python - <<'END_OF_PYTHON'\n{}END_OF_PYTHON\n"


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        language: "bash" and "python" run; "text" is what the block before it prints.
        text: its lines.
        line: of the file, where it opens.
        remark: why it is not run, or why its output may differ elsewhere.
    """

    language: str
    text: str
    line: int
    remark: str = ""

    @property
    def runs(self) -> bool:
        return self.is_code and not self.remark

    @property
    def is_code(self) -> bool:
        return self.language in ("bash", "python")


def read_blocks(text: str) -> list[Block]:
    """The fenced blocks of a page; a comment such as `<!-- not run: needs a GPU -->` stands on the line before."""
    blocks, opened, lines = [], None, text.splitlines()
    for number, line in enumerate(lines):
        if not (fence := _FENCE.match(line)):
            continue
        if opened is None:
            opened = (number, fence.group(1))
            continue
        start, language = opened
        remark = _REMARK.match(lines[start - 1]) if start else None
        body = "".join(f"{inner}\n" for inner in lines[start + 1 : number])
        blocks.append(Block(language, body, start + 1, remark.group(2) if remark else ""))
        opened = None
    return blocks


def run_blocks(blocks: Sequence[Block], folder: Path, environment: Mapping[str, str]) -> list[str]:
    """What each block that runs prints, on both streams; the first that fails ends it with an assertion.

    Args:
        blocks: of a page; those that do not run are left out.
        folder: empty; the script starts in it.
        environment: of bash. What one block exports or where it goes holds for those after it.
    """
    running = [block for block in blocks if block.runs]
    script = "set -euo pipefail\n" + "".join(
        f"echo '{_MARK}'\n{_PYTHON.format(block.text) if block.language == 'python' else block.text}"
        for block in running
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    outputs = done.stdout.decode("utf-8", "replace").split(f"{_MARK}\n")[1:]
    failed = running[len(outputs) - 1]
    assert done.returncode == 0, f"the block of line {failed.line} failed:\n{failed.text}\n{outputs[-1]}"
    return outputs


def missing_lines(expected: str, printed: str) -> list[str]:
    """Lines of a page's expected output that were not printed, whatever their numbers and spaces; "..." is anything."""
    found = {_shape(line) for line in printed.splitlines()}
    return [line for line in expected.splitlines() if line.strip() not in ("", "...") and _shape(line) not in found]


def _shape(line: str) -> str:
    return _NUMBER.sub("0", " ".join(line.split()))


def expectations(blocks: Sequence[Block]) -> list[tuple[int, Block]]:
    """The "text" blocks that are compared, each with the number of the running block before it."""
    found, number = [], -1
    for block in blocks:
        number += block.runs
        if block.language == "text" and not block.remark:
            found.append((number, block))
    return found
