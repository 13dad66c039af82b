"""Every example in a docstring runs."""

import doctest
import importlib
import pkgutil

import pytest

import pictogram

MODULES = sorted(
    module.name
    for package in ("hub", "tokenizer", "lm", "pipelines")
    for module in pkgutil.walk_packages([f"{next(iter(pictogram.__path__))}/{package}"], f"pictogram.{package}.")
)


@pytest.mark.parametrize("name", ["pictogram", *MODULES])
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_there_are_modules_and_examples():
    assert "pictogram.tokenizer.model" in MODULES
    finder = doctest.DocTestFinder()
    module = importlib.import_module("pictogram.tokenizer.model")
    assert any(test.examples for test in finder.find(module))
