"""The examples run, each in a process of its own, on a tiny bundle."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_chain

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *arguments: str) -> str:
    completed = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True, env=os.environ, check=False
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def arguments_of(name: str, folder: Path) -> list[str]:
    bundle, tokenizer = str(tiny_chain.bundle_folder()), str(tiny_chain.tokenizer_folder())
    return {
        "words_to_pictures.py": [bundle, str(folder / "words.png")],
        "codes_of_a_picture.py": [tokenizer, str(folder / "codes.png")],
        "stock_transformers.py": [bundle, "red apple"],
    }[name]


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example_runs(name, tmp_path):
    assert run(name, *arguments_of(name, tmp_path)).strip()


def test_the_stock_example_writes_one_code_per_place():
    codes = run("stock_transformers.py", *arguments_of("stock_transformers.py", Path())).split()
    assert len(codes) == sum(rows * columns for rows, columns in tiny_chain.GRIDS)
    assert codes[0].startswith("<|0:") and all(code.startswith("<|1:") for code in codes[1:])
