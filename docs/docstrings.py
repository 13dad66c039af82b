"""How the API reference reads docstrings of this project: an extension of griffe, see mkdocs.yml."""

from __future__ import annotations

import re
import textwrap
from typing import Any

from griffe import Class, Extension, Object

_EXAMPLE = re.compile(r"^Example:\n((?:[ ]{4}.*(?:\n|\Z)|\n)+)", flags=re.MULTILINE)
_COMMAND = re.compile(r"^Example: (.+)$", flags=re.MULTILINE)
_ARGUMENTS = re.compile(r"^Args:$", flags=re.MULTILINE)


class ProjectDocstrings(Extension):
    """Turns sections into those that griffe knows.

    "Example:" becomes "Examples:", with its code fenced where it is no doctest. A class without an `__init__` that
    documents "Args:" (a configuration, whose fields are its arguments) gets "Attributes:", so that they have types.
    """

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called by griffe for everything that it has read."""
        if obj.docstring is None:
            return
        text = _COMMAND.sub(r"Example: `\1`", _EXAMPLE.sub(_examples, obj.docstring.value))
        if isinstance(obj, Class) and "__init__" not in obj.members:
            text = _ARGUMENTS.sub("Attributes:", text)
        obj.docstring.value = text


def _examples(match: re.Match[str]) -> str:
    code = textwrap.dedent(match.group(1)).strip()
    if ">>>" not in code:
        code = f"```python\n{code}\n```"
    return f"Examples:\n{textwrap.indent(code, '    ')}\n\n"
