"""The documentation site beside its pages: what the API reference lists, and the hooks of mkdocs."""

import importlib
import importlib.util
import logging
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

import pictogram
from pictogram import __main__ as command_line

DOCS = Path(__file__).resolve().parents[1] / "docs"
REFERENCE = {path.stem: path.read_text(encoding="utf-8") for path in (DOCS / "reference").glob("*.md")}
LISTED = [name for text in REFERENCE.values() for name in re.findall(r"^::: (\S+)$", text, flags=re.MULTILINE)]


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    pytest.importorskip("mkdocs")
    return load("hooks")


def load(name: str) -> ModuleType:
    """A module of docs/, as mkdocs loads it."""
    spec = importlib.util.spec_from_file_location(f"pictogram_docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_public_name_is_in_the_reference():
    found = set(re.findall(r"^::: pictogram\.(\w+)$", REFERENCE["pictogram"], flags=re.MULTILINE))
    assert found == {*pictogram.__all__} - {"__version__"}


def test_every_module_behind_a_command_is_in_the_reference():
    assert {f"pictogram.{entry.module}" for entry in command_line.COMMANDS.values()} <= {*LISTED}


def test_what_the_reference_lists_is_there_once():
    assert len(LISTED) == len(set(LISTED))
    for name in LISTED:
        home, _, last = name.rpartition(".")
        assert (home == "pictogram" and last in pictogram.__all__) or importlib.import_module(name).__doc__, name


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("../README.md", "https://x.org/p/blob/main/README.md"),
        ("../hub/models/README.md#licenses", "https://x.org/p/blob/main/hub/models/README.md#licenses"),
        ("../examples/", "https://x.org/p/tree/main/examples"),
        ("codec.md#curves", "codec.md#curves"),
        ("#train", "#train"),
        ("https://example.org/../a.md", "https://example.org/../a.md"),
    ],
)
def test_links_that_leave_the_pages_lead_to_the_repository(hooks, target, expected):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="prior.md"))
    config = SimpleNamespace(extra={"repository": "https://x.org/p"})
    assert hooks.on_page_markdown(f"see [a]({target}).", page, config, []) == f"see [a]({expected})."
    deeper = SimpleNamespace(file=SimpleNamespace(src_uri="tutorials/train.md"))
    assert hooks.on_page_markdown("[a](../prior.md)", deeper, config, []) == "[a](../prior.md)"


def test_the_page_of_commands_has_every_command_and_option(hooks):
    page = hooks.commands_page()
    for name in command_line.COMMANDS:
        assert f"\n## pictogram {name}\n" in page
    for part in ("## pictogram symbols atlas", "`--guidance-scale <float>`", "```bash\npictogram generate"):
        assert part in page
    assert not re.search(r"<(?!br)[a-z]", re.sub(r"`[^`]*`", "", page)), "nothing looks like HTML"


def test_the_package_is_laid_out_by_name(hooks):
    package = hooks.package_home() / "pictogram"
    assert {path.name for path in package.iterdir()} == {
        "__init__.py", "__main__.py", "hub", "lm", "pipelines", "tokenizer",
    }  # fmt: skip
    assert (package / "lm" / "bundle.py").is_file()


@pytest.mark.parametrize(
    ("html", "warns"),
    [
        ('<script src="https://cdn.example.org/a.js"></script>', True),
        ('<link rel="stylesheet" href="//fonts.example.org/css">', True),
        ('<div data-md-component="source"></div>', True),
        ('<a href="https://example.org">x</a><img src="a.png"><link rel="stylesheet" href="a.css">', False),
    ],
)
def test_pages_that_load_something_from_elsewhere_are_told(hooks, caplog, html, warns):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="a.md"))
    with caplog.at_level(logging.WARNING):
        assert hooks.on_post_page(html, page, None) == html
    assert bool(caplog.records) == warns


def test_docstrings_are_read_in_the_manner_of_the_reference():
    griffe = pytest.importorskip("griffe")
    code = '''
        class Config:
            """Shapes.

            Args:
                size: pixels.

            Example:
                >>> Config()
            """
            size: int = 3

        def draw():
            """Draws.

            Example:
                draw()

            Raises:
                OSError: never.
            """
    '''
    with griffe.temporary_visited_module(code) as found:
        for name in ("Config", "draw"):
            load("docstrings").ProjectDocstrings().on_object(obj=found[name])
        config, draw = (found[name].docstring.value for name in ("Config", "draw"))
    assert "Attributes:\n    size: pixels." in config and "Examples:\n    >>> Config()" in config
    assert "Examples:\n    ```python\n    draw()\n    ```\n\nRaises:" in draw
