"""What the documentation site needs beside its pages; mkdocs calls the functions named `on_...`.

The repository is the package, whatever its folder is called, so a package of that name is laid out for the tools that
look for one. Links that leave docs/ lead to the repository on the web. The page of commands is written from the
commands themselves.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import logging
import posixpath
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[1]
DOCS = Path(__file__).resolve().parent
COMMANDS_PAGE = "reference/commands.md"
LOG = logging.getLogger("mkdocs.hooks.pictogram")

_LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)\s]*)?\))")
_OUTSIDE = re.compile(
    r"""<(?:script|img|iframe|source)\b[^>]*?\ssrc=["']?(?:https?:)?//[^>]*>|<link\b[^>]*?stylesheet[^>]*?//[^>]*>"""
    r"""|data-md-component="source"|class="mermaid\""""  # the theme's scripts ask other servers for these
)


@functools.cache
def package_home() -> Path:
    """A folder with `pictogram` in it, made of links to this repository, until the process ends."""
    home = Path(tempfile.mkdtemp(prefix="pictogram-docs-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    package = home / "pictogram"
    package.mkdir()
    for source in [*ROOT.glob("*.py"), *(path.parent for path in ROOT.glob("*/__init__.py"))]:
        (package / source.name).symlink_to(source)
    return home


@event_priority(100)  # before mkdocstrings reads its settings
def on_config(config: Any) -> Any:
    """Shows mkdocstrings where the package is."""
    handlers = config.plugins["mkdocstrings"].config.handlers
    handlers.setdefault("python", {})["paths"] = [str(package_home())]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Adds the page of commands."""
    files.append(File.generated(config, COMMANDS_PAGE, content=commands_page()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Sends links that leave docs/ to the repository on the web."""
    return _LINK.sub(lambda match: _link(match, page.file.src_uri, config.extra["repository"]), markdown)


def _link(match: re.Match[str], page: str, repository: str) -> str:
    start, target, end = match.groups()
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    if "://" in target or target.startswith(("/", "mailto:")) or path.startswith("docs/"):
        return match.group()
    kind = "tree" if (ROOT / path).is_dir() else "blob"
    return f"{start}{repository}/{kind}/main/{path}{end}"


def on_post_page(output: str, page: Any, config: Any) -> str:
    """Warns of a page that would load something from elsewhere."""
    if found := _OUTSIDE.search(output):
        LOG.warning("%s loads something from another server: %s", page.file.src_uri, found.group())
    return output


@functools.cache
def commands_page() -> str:
    """Every command with what its `--help` says, as Markdown."""
    sys.path.insert(0, str(package_home()))
    try:
        command_line: Any = importlib.import_module("pictogram.__main__")
    finally:
        sys.path.remove(str(package_home()))
    parts = ["# Commands", "What `pictogram COMMAND --help` says, from the commands themselves."]
    for name in command_line.COMMANDS:
        parts += _command(f"pictogram {name}", command_line.load(name))
    return "\n\n".join(parts) + "\n"


def _command(name: str, command: Any) -> Iterator[str]:
    context = command.make_context(name, [], resilient_parsing=True)
    yield f"## {name}"
    yield _prose(command.help or "")
    inner = getattr(command, "commands", {})
    if not inner:
        yield f"```text\n{' '.join([name, *command.collect_usage_pieces(context)])}\n```"
        yield "\n".join(["| | |", "|---|---|", *_rows(command, context)])
    for inner_name, inner_command in inner.items():
        yield from _command(f"{name} {inner_name}", inner_command)


def _rows(command: Any, context: Any) -> Iterator[str]:
    for parameter in command.get_params(context):
        if record := parameter.get_help_record(context):
            names, text = (" ".join(part.split()) for part in record)
            yield f"| `{names}` | {_prose(text).replace('|', chr(92) + '|')} |"


def _prose(text: str) -> str:
    """Help as Markdown: what looks like markup stays as it is, examples become code."""
    text = "\n".join(line.strip() for line in text.strip().splitlines())
    text = re.sub(r"^Example: (.*)$", r"```bash\n\1\n```", text, flags=re.MULTILINE)
    return text.replace("<", "&lt;").replace("[default", r"\[default")
