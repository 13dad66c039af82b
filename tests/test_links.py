"""Every link between pages of the repository leads somewhere, and to a heading that is there."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
PATTERNS = ("*.md", "docs/**/*.md", "hub/models/**/*.md", "benchmarks/*.md", "tests/codec_v1/*.md")
PAGES = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})
_FENCED = re.compile(r"^(```+|~~~+).*?^\1[`~]*$", flags=re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", flags=re.DOTALL)
_LINK = re.compile(r"\]\(\s*<?([^()\s<>]+(?:\([^()\s]*\)[^()\s<>]*)*)>?(?:\s+\"[^\"]*\")?\s*\)")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s<>]+)>?", flags=re.MULTILINE)
_HTML = re.compile(r"<(?:a|img)\b[^>]*?\b(?:href|src)=[\"']([^\"']+)[\"']")
_HEADING = re.compile(r"^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$", flags=re.MULTILINE)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def links_of(text: str) -> list[str]:
    """Targets of all links and pictures; code is no link."""
    text = _CODE.sub("``", _FENCED.sub("", text))
    return [target for pattern in (_LINK, _DEFINITION, _HTML) for target in pattern.findall(text)]


def anchors_of(text: str) -> set[str]:
    """Anchors that GitHub gives the headings: lower case, no punctuation, "-" for spaces, "-1" for the second."""
    anchors: set[str] = set()
    for heading in _HEADING.findall(_FENCED.sub("", text)):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        first = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        same = [first, *(f"{first}-{count}" for count in range(1, len(anchors) + 1))]
        anchors.add(next(anchor for anchor in same if anchor not in anchors))
    return anchors


def problem_of(target: str, page: Path) -> str | None:
    """Why a link of a page leads nowhere; of links to other servers only their form is looked at."""
    parts = urlsplit(target)
    if parts.scheme == "mailto":
        return None
    if parts.scheme or parts.netloc:
        return None if parts.scheme in ("http", "https") and "." in parts.netloc else "no address"
    path = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not path.is_relative_to(ROOT) or not path.exists():
        return "no such file"
    if parts.fragment and unquote(parts.fragment) not in anchors_of(path.read_text(encoding="utf-8")):
        return "no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    found = {target: problem_of(target, page) for target in links_of(page.read_text(encoding="utf-8"))}
    assert {target: problem for target, problem in found.items() if problem} == {}


def test_all_pages_are_looked_at():
    names = {name_of(path) for path in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/log.md", "docs/tutorials/index.md"} < names
    assert {"hub/models/README.md", "hub/models/noto/README.md", "benchmarks/README.md"} < names


def test_links_in_a_text():
    text = (
        '[a](b.md) ![c d](e/f.png "title") `[no](g.md)` [h](<i.md>) [w](https://x.org/y_(z))\n\n'
        "```python\n[no](j.md)\n```\n\n[k]: l.md\n<img src='m.png'>\n"
    )
    assert links_of(text) == ["b.md", "e/f.png", "i.md", "https://x.org/y_(z)", "l.md", "m.png"]


def test_anchors_of_headings():
    headings = ["# A `pictogram tokenize`, and *more*", "## 2026-11-29 K = 64: 3.5 %", "## [Twice](a.md)", "## Twice"]
    text = "\n\n".join([*headings, "```\n# no\n```\n"])
    assert anchors_of(text) == {"a-pictogram-tokenize-and-more", "2026-11-29-k--64-35-", "twice", "twice-1"}


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ("README.md", None),
        ("README.md#what-is-inside", None),
        ("#what-is-inside", None),
        ("docs", None),
        ("README.md#nothing-like-it", "no such heading"),
        ("nothing.md", "no such file"),
        ("../outside.md", "no such file"),
        ("https://github.com/pictogram/pictogram", None),
        ("https:/github.com", "no address"),
        ("ftp://example.org", "no address"),
    ],
)
def test_problems_are_found(target, problem):
    assert problem_of(target, ROOT / "README.md") == problem
