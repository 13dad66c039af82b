"""Every tutorial runs from top to bottom as it is written, and prints what it says."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import HubServer
from tutorials import Block, expectations, missing_lines, read_blocks, run_blocks
from warm_process import WarmProcess

FOLDER = Path(__file__).parents[1] / "docs" / "tutorials"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "index")
PAGE = """
```bash
echo one 1.5
```

```text
one 2
```

<!-- not run: needs a GPU -->
```python
raise RuntimeError
```

```python
print("two")
```

<!-- may differ: who knows -->
```text
three
```
"""


def page(name: str) -> list[Block]:
    return read_blocks((FOLDER / f"{name}.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory) -> Iterator[dict[str, str]]:
    """That of a newcomer who is logged in to a Hub of their own, the loopback server; commands start at once."""
    if not hasattr(os, "fork"):
        pytest.skip("needs a system that forks")
    settings = {
        "HF_HOME": str(tmp_path_factory.mktemp("huggingface")),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_TOKEN": "hf_you",
        "COLUMNS": "100",
    }
    with HubServer(users=("you:hf_you",)) as server:
        process = WarmProcess({**settings, "HF_ENDPOINT": server.endpoint})
        yield process.environment
        process.stop()


@pytest.mark.parametrize("name", PAGES)
def test_tutorial_runs(name, environment, tmp_path):
    blocks = page(name)
    outputs = run_blocks(blocks, tmp_path, environment)
    for number, expected in expectations(blocks):
        missing = missing_lines(expected.text, outputs[number])
        assert not missing, f"line {expected.line}: {missing} not in\n{outputs[number]}"


@pytest.mark.parametrize("name", PAGES)
def test_most_of_a_tutorial_is_run_and_shows_what_to_expect(name):
    blocks = page(name)
    code = [block for block in blocks if block.is_code]
    assert sum(block.runs for block in code) >= 0.8 * len(code)
    assert len(expectations(blocks)) >= 2


def test_every_tutorial_is_listed():
    listed = (FOLDER / "index.md").read_text(encoding="utf-8")
    assert len(PAGES) >= 6 and all(f"({name}.md)" in listed for name in PAGES)


def test_blocks_of_a_page(tmp_path):
    blocks = read_blocks(PAGE)
    assert [(block.language, block.runs, block.remark) for block in blocks] == [
        ("bash", True, ""),
        ("text", False, ""),
        ("python", False, "needs a GPU"),
        ("python", True, ""),
        ("text", False, "who knows"),
    ]
    assert [(number, block.text) for number, block in expectations(blocks)] == [(0, "one 2\n")]
    assert blocks[0].line == 2 and PAGE.splitlines()[1] == "```bash"


def test_state_goes_from_block_to_block(tmp_path):
    blocks = [Block("bash", "mkdir inner\ncd inner\nexport WORD=here\n", 1), Block("bash", "pwd; echo $WORD >&2\n", 2)]
    assert run_blocks(blocks, tmp_path, os.environ) == ["", f"{tmp_path.resolve() / 'inner'}\nhere\n"]


def test_a_block_that_fails_is_named(tmp_path):
    blocks = [Block("bash", "true\n", 1), Block("bash", "false | cat\necho lost\n", 7), Block("bash", "true\n", 9)]
    with pytest.raises(AssertionError, match="line 7"):
        run_blocks(blocks, tmp_path, os.environ)


def test_lines_are_compared_without_their_numbers():
    printed = "loss 0.25; bits 1,806\n  a   table  \n"
    assert missing_lines("loss 3; bits 12\n...\n\na table\n", printed) == []
    assert missing_lines("loss 3; nats 12\n", printed) == ["loss 3; nats 12"]
