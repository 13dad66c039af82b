"""The web app as a Space of the Hub: a folder that runs by itself, package included.

Spaces install requirements.txt before their own files are there, so a wheel in the folder could not be named in it. The
package's sources lie in the folder instead, beside the metadata that tells their version.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..hub.card import CARD_NAME, card_text
from ..hub.card_facts import CardFacts
from ..hub.errors import InputError
from ..hub.files import atomic_files
from ..hub.repository import PushedRepository, is_hub_name, push_folder
from ..hub.shipped import SHIPPED_MODELS, shipped_folder
from ..lm.bundle import Bundle, bundle_files
from .app_page import import_gradio

PACKAGES = ("hub", "tokenizer", "lm", "pipelines")
"""Folders of the package that go along, beside the Python files at its root."""

_METADATA = "pictogram-*.dist-info"
"""What an export leaves, and nothing else does."""

BUNDLE = "bundle"
"""Folder inside a Space that holds the model's own, where it is not loaded by its name."""

_APP = '''\
"""The web app of pictogram; the package lies beside this file."""

from pathlib import Path

from pictogram.pipelines.app import run_space

HERE = Path(__file__).parent

if __name__ == "__main__":
    run_space({model}, revision={revision!r}, examples={examples!r})
'''

_BODY = """\
# {title}

Pictures as short sequences of codes, coarse to fine, that a language model reads and writes together with words: draw,
look at symbols, complete, caption and compress, with {model}.

`app.py` shows the page; `pictogram/` is the package it needs. To run it elsewhere: `pip install
-r requirements.txt "gradio>=6"`, then `python app.py`. Written by `pictogram app --export`.
"""

_OURS = ("pictogram/*", "pictogram-*.dist-info/*", f"{BUNDLE}/*")

_WHEELS = "--extra-index-url https://download.pytorch.org/whl/cpu"
"""Wheels of torch for machines without a GPU, as most Spaces are."""


def export_space(model: str, output: Path, revision: str = "", examples: Sequence[str] = ()) -> dict[str, Any]:
    """Writes the folder.

    Args:
        model: folder of a bundle, which is copied, or a name that the Space loads by itself.
        output: a new folder, or one that holds a Space written earlier.
        revision: of a name on the Hub.
        examples: prompts to click; the model writes some where there are none.

    Returns:
        `space`, its path; `model`, what it loads; `files`, how many it has; `bytes` of them.

    Raises:
        InputError: gradio is not installed, the bundle cannot be loaded, or the folder holds something else.
    """
    gradio = import_gradio()
    check_space_folder(output)
    folder = Path(model).expanduser().resolve()
    name = _folder_name(folder) if folder.is_dir() else ""
    bundle = Bundle.from_pretrained(model, revision or None)  # what does not load here would not there
    output.mkdir(parents=True, exist_ok=True)
    with atomic_files(output) as new:
        _copy_package(new, model)
        for file in bundle_files(folder) if name else ():
            target = new / BUNDLE / name / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / file, target)
        place = f"str(HERE / {BUNDLE!r} / {name!r})" if name else repr(model)
        text = _APP.format(model=place, revision=bundle.revision or "", examples=[*examples])
        (new / "app.py").write_text(text, encoding="utf-8")
        (new / "requirements.txt").write_text("\n".join([_WHEELS, *requirements(), ""]), encoding="utf-8")
        card = _card(name or model, str(gradio.__version__), model if is_hub_name(model) else None)
        (new / CARD_NAME).write_text(card, encoding="utf-8")
        for stale in ("pictogram", BUNDLE, *(path.name for path in output.glob(_METADATA))):  # the new ones are ready
            shutil.rmtree(output / stale, ignore_errors=True)
    files = [path for path in output.rglob("*") if path.is_file()]
    return {
        "space": str(output),
        "model": f"{BUNDLE}/{name}" if name else model,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
    }


def _folder_name(folder: Path) -> str:
    """Of a bundle in a Space, as the page shows it; trainings call theirs all the same."""
    return (folder.parent.name if folder.name == BUNDLE else folder.name) or "model"


def check_space_folder(output: Path) -> None:
    """Raises InputError where a Space would take the place of something else."""
    if output.exists() and not output.is_dir():
        raise InputError(f"{output} is no folder")
    # An export that was killed leaves a hidden temporary folder.
    is_empty = not output.is_dir() or all(entry.name.startswith(".") for entry in output.iterdir())
    if not is_empty and not any(output.glob(_METADATA)):
        raise InputError(f"{output} holds something that `pictogram app --export` did not write; give another folder")


def space_sdk(folder: Path) -> str | None:
    """What a folder's README.md says that runs it as a Space, "gradio" or "static" for example; None if it is none."""
    import yaml
    from huggingface_hub import metadata_load

    card = folder / CARD_NAME
    try:
        sdk = (metadata_load(card) or {}).get("sdk") if card.is_file() else None
    except (ValueError, OSError, yaml.YAMLError):  # no valid metadata
        return None
    return sdk if isinstance(sdk, str) else None


def push_space(folder: Path, repo_id: str, *, facts: CardFacts | None = None, **options: Any) -> PushedRepository:
    """Puts the folder of a Space on the Hub; sources of an earlier push that it no longer has go.

    Args:
        folder: with a README.md that names the sdk.
        repo_id: owner/name of the Space, made if missing.
        facts: none: the card of a Space is its own README.md.
        options: see `push_folder`.

    Raises:
        InputError: no such folder, facts for a card, or see `push_folder`.
    """
    if facts is not None and facts.metadata():
        raise InputError(f"the card of a Space is its own: write licenses and datasets into {folder / CARD_NAME}")
    sdk = space_sdk(folder)
    if sdk is None:
        raise InputError(f"{folder} is no Space: it has no {CARD_NAME} that names an sdk; `app --export` writes one")
    return push_folder(folder, repo_id, repo_type="space", space_sdk=sdk, delete_patterns=_OURS, **options)


def requirements() -> list[str]:
    """What the package needs, by its own metadata, without its extras."""
    found = importlib.metadata.requires("pictogram") or []
    return sorted(line for line in found if "extra ==" not in line)


def _copy_package(new: Path, model: str) -> None:
    """The sources; of the shipped models, which lie among them, only the one that is shown."""
    root = Path(__file__).parents[1]
    target = new / "pictogram"
    target.mkdir()
    for path in [*root.glob("*.py"), root / "py.typed"]:
        shutil.copyfile(path, target / path.name)
    for package in PACKAGES:
        shipped = {*SHIPPED_MODELS} - ({model} if shipped_folder(model) else set())
        ignored: Callable[..., set[str]] = shutil.ignore_patterns("__pycache__", ".*", *shipped)
        shutil.copytree(root / package, target / package, ignore=ignored)
    version = importlib.metadata.version("pictogram")
    metadata = new / f"pictogram-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text("\n".join(_metadata(version)) + "\n", encoding="utf-8")


def _metadata(version: str) -> Iterator[str]:
    yield from ("Metadata-Version: 2.1", "Name: pictogram", f"Version: {version}")
    yield from (f"Requires-Dist: {line}" for line in requirements())


def _card(model: str, gradio_version: str, hub_name: str | None) -> str:
    title = "pictogram"
    about: dict[str, Any] = {
        "title": title,
        "emoji": "🧩",
        "colorFrom": "indigo",
        "colorTo": "pink",
        "sdk": "gradio",
        "sdk_version": gradio_version,
        "python_version": f"{sys.version_info.major}.{sys.version_info.minor}",
        "app_file": "app.py",
        "short_description": "Pictures as codes that a language model draws",
        "license": "apache-2.0",
        "pinned": False,
    }
    if hub_name:
        about["models"] = [hub_name]
    return card_text(about, _BODY.format(title=title, model=f"`{model}`"))
