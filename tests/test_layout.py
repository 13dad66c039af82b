"""The house rules that a reader would otherwise have to check: where files lie and who imports whom."""

import ast
import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pictogram

ROOT = Path(__file__).parent.parent
ORDER = ["hub", "tokenizer", "lm", "pipelines"]
SOURCES = sorted(path for package in ORDER for path in (ROOT / package).rglob("*.py"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Tested together with a neighbour: what to look for instead of a file of its own.
TESTED_ELSEWHERE = {
    "hub/errors.py",
    "lm/adapters.py",
    "lm/decoder.py",
    "lm/held_out.py",
    "lm/training_config.py",
    "pipelines/command_options.py",
    "pipelines/compress_commands.py",
    "pipelines/draw_commands.py",
    "pipelines/evaluate_commands.py",
    "pipelines/inspect_codes.py",
    "pipelines/picture_request.py",
    "pipelines/tokenize_job.py",
    "tokenizer/codes_manifest.py",
    "tokenizer/codes_writer.py",
    "tokenizer/input_shards.py",
    "tokenizer/sources.py",
}


def imports(path: Path) -> list[tuple[int, int, str]]:
    """(line, level, name) of every import statement, inner ones and those for type checking included."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, 0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            found += [(node.lineno, node.level, name) for name in names]
    return found


def imported_packages(path: Path) -> set[str]:
    """Which of our packages a source imports from, by relative imports; each package is flat."""
    package = path.relative_to(ROOT).parts[0]
    by_level = {1: lambda name: package, 2: lambda name: name.split(".")[0]}
    return {by_level[level](name) for _, level, name in imports(path) if level}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_are_relative_and_run_one_way(path):
    assert [entry for entry in imports(path) if entry[1] == 0 and entry[2].split(".")[0] == "pictogram"] == []
    package = path.relative_to(ROOT).parts[0]
    allowed = ORDER[: ORDER.index(package) + 1]
    assert imported_packages(path) <= set(allowed), f"{package} may import from {allowed} only"


def test_hub_knows_no_model_code():
    found = [entry for path in (ROOT / "hub").glob("*.py") for entry in imports(path)]
    assert not {name.split(".")[0] for _, level, name in found if not level} & {
        "transformers",
        "accelerate",
        "datasets",
    }


def test_packages_in_pyproject_are_those_on_disk():
    files = {*ROOT.glob("*/__init__.py"), *(path for path in SOURCES if path.stem == "__init__")}
    found = {".".join(["pictogram", *path.parent.relative_to(ROOT).parts]) for path in files}
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == {"pictogram"} | found
    assert len({path.parent for path in SOURCES}) == len(ORDER), "each package is flat"


def test_no_stray_module_at_the_root():
    assert {path.name for path in ROOT.glob("*.py")} == {"__init__.py", "__main__.py"}


def test_no_test_is_a_package():
    assert not (ROOT / "tests" / "__init__.py").exists()


def test_every_source_has_a_test_file():
    wanted = {f"test_{path.parent.name}_{path.stem}.py" for path in SOURCES if path.stem != "__init__"}
    elsewhere = {f"test_{name.replace('/', '_')}" for name in TESTED_ELSEWHERE}
    found = {path.name for path in (ROOT / "tests").glob("test_*.py")}
    assert sorted(wanted - elsewhere - found) == []
    assert sorted(elsewhere & found) == [], "no longer tested elsewhere"


def test_import_is_light():
    script = (
        "import sys, json, pictogram; dir(pictogram); pictogram.__version__; pictogram.InputError;"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    heavy = {"torch", "transformers", "datasets", "accelerate", "numpy", "PIL", "safetensors"}
    assert not heavy & set(json.loads(done.stdout))


@pytest.mark.parametrize("name", pictogram.__all__)
def test_public_names_resolve(name):
    value = getattr(pictogram, name)
    assert name in dir(pictogram)
    if name != "__version__":
        assert value.__module__.startswith("pictogram.")
        assert value.__doc__


def test_public_names_are_declared_for_type_checkers_too():
    tree = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {
        alias.asname: node.module for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert declared == pictogram._HOME


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        pictogram.nonsense  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]


def test_auto_classes_are_registered_by_the_tokenizer_package():
    module = importlib.import_module("pictogram.tokenizer")
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    assert CONFIG_MAPPING["pictogram_image_tokenizer"] is module.ImageTokenizerConfig


def test_command_and_data_are_packaged():
    target, function = PYPROJECT["project"]["scripts"]["pictogram"].split(":")
    assert (ROOT / (target.removeprefix("pictogram.").replace(".", "/") + ".py")).is_file()
    assert function == "main"
    assert (ROOT / "py.typed").is_file()
    assert list((ROOT / "tokenizer" / "noto32").iterdir())
