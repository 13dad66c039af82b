"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import pictogram

MODULES = sorted(
    module.name
    for package in ("hub", "tokenizer", "lm", "pipelines")
    for module in pkgutil.walk_packages([f"{next(iter(pictogram.__path__))}/{package}"], f"pictogram.{package}.")
)

_ROOT = Path(__file__).parents[1]
SCRIPTS = [
    path
    for folder in ("examples", "benchmarks")
    for path in sorted((_ROOT / folder).rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", ["pictogram", *MODULES])
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_examples_in_scripts(path, monkeypatch):
    monkeypatch.syspath_prepend(path.parent)
    module = importlib.import_module(path.stem)
    result = doctest.testmod(module)
    assert result.attempted and result.failed == 0


def test_there_are_modules_and_examples():
    assert "pictogram.tokenizer.model" in MODULES
    finder = doctest.DocTestFinder()
    module = importlib.import_module("pictogram.tokenizer.model")
    assert any(test.examples for test in finder.find(module))
