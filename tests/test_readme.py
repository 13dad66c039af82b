"""The README's Python runs as it is written, on a tiny bundle in the place of the demo's."""

import re
import shutil
from pathlib import Path

import pytest
import tiny_chain

README = Path(__file__).parents[1] / "README.md"


def python_blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def demo_folder(tmp_path, monkeypatch):
    shutil.copytree(tiny_chain.bundle_folder(), tmp_path / "pictogram-demo" / "bundle")
    shutil.copytree(tiny_chain.tokenizer_folder(), tmp_path / "pictogram-demo" / "image-tokenizer")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_has_examples():
    assert len(python_blocks()) >= 2


@pytest.mark.parametrize("block", python_blocks())
def test_python_examples_run(block, demo_folder):
    exec(compile(block, str(README), "exec"), {})


def test_the_first_example_saves_its_picture(demo_folder):
    exec(compile(python_blocks()[0], str(README), "exec"), {})
    assert (demo_folder / "apple.png").stat().st_size > 0


def test_every_linked_file_exists():
    links = re.findall(r"\]\(((?!https?://)[^)#]+)\)", README.read_text(encoding="utf-8"))
    missing = [link for link in links if not (README.parent / link).exists()]
    assert not missing


def test_every_command_of_the_readme_exists():
    from pictogram.__main__ import app

    commands = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    used = set(re.findall(r"^pictogram ([a-z-]+)", README.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert used and used <= commands
