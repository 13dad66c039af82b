"""Image tokenizers that open without pictogram: the code goes along, for transformers and those who trust it."""

from __future__ import annotations

import os
from pathlib import Path

from ..hub.errors import InputError
from ..hub.files import atomic_files, atomic_write_text, read_json_object, write_json
from ..hub.flat_sources import flat_name, flat_sources
from ..hub.provenance import PROVENANCE_NAME
from .config import ImageTokenizerConfig
from .image_processor import ImageTokenizerImageProcessorPil
from .loading import LoadedImageTokenizer, load_image_tokenizer
from .model import ImageTokenizer

CODE_PATTERNS = tuple(f"{flat_name(package)}_*.py" for package in ("hub", "tokenizer"))
"""Globs of the code's files."""

_CLASSES: dict[str, dict[str, type]] = {
    "config.json": {"AutoConfig": ImageTokenizerConfig, "AutoModel": ImageTokenizer},
    "preprocessor_config.json": {"AutoImageProcessor": ImageTokenizerImageProcessorPil},
}
"""For each file that may name code, transformers' Auto classes and what they give."""


def export_remote_code(
    tokenizer: LoadedImageTokenizer | str | os.PathLike[str], output: str | os.PathLike[str]
) -> list[str]:
    """Writes an image tokenizer that transformers opens without pictogram, by `trust_remote_code=True`.

    Codes and pictures are bit for bit those of `load_image_tokenizer`, which opens the folder as well, by the code that
    is installed.

    Args:
        tokenizer: a folder, a name on the Hub, or a tokenizer at hand; it stays as it is.
        output: folder for the result, created if missing.

    Returns:
        The names of the code's files.

    Raises:
        InputError: the tokenizer does not load, is another system's behind an adapter, or lies in `output` itself.

    Example:
        export_remote_code("image-tokenizer", "image-tokenizer-with-code")
    """
    loaded = tokenizer if isinstance(tokenizer, LoadedImageTokenizer) else load_image_tokenizer(tokenizer)
    check_has_remote_code(loaded)
    output = Path(output).expanduser()
    if loaded.name and output.is_dir() and output.resolve() == Path(loaded.name).expanduser().resolve():
        raise InputError(f"{output} is the tokenizer's own folder, which stays as it is; give another one")
    with atomic_files(output) as folder:
        loaded.model.save_pretrained(folder)
        loaded.processor.save_pretrained(folder)
        if loaded.provenance is not None:
            loaded.provenance.save(folder)
        else:  # that of a tokenizer that lay there
            (output / PROVENANCE_NAME).unlink(missing_ok=True)
        return add_remote_code(folder)


def check_has_remote_code(loaded: LoadedImageTokenizer) -> None:
    """Checks that there is code to go along.

    Raises:
        InputError: another system's network behind an adapter, or patches without a network.
    """
    if not isinstance(loaded.model, ImageTokenizer):
        layout = getattr(loaded.model.config, "layout", "unknown")
        raise InputError(
            f"remote code goes with tokenizers that train-tokenizer made; {loaded.name or 'this one'} is of the "
            f'layout "{layout}", which needs pictogram'
        )


def add_remote_code(folder: Path) -> list[str]:
    """Adds code to a folder that holds an image tokenizer's files; links to them are replaced, not followed.

    Returns:
        The names of the code's files.
    """
    classes = [kind for named in _CLASSES.values() for kind in named.values()]
    sources = flat_sources([_module(kind) for kind in classes])
    for name, text in sources.items():
        atomic_write_text(folder / name, text)
    for file, named in _CLASSES.items():
        auto_map = {auto: f"{flat_name(_module(kind))}.{kind.__name__}" for auto, kind in named.items()}
        write_json(folder / file, read_json_object(folder / file) | {"auto_map": auto_map})
    return list(sources)


def drop_remote_code(folder: Path) -> None:
    """Takes the names of code out of an image tokenizer's files; links are replaced, not followed."""
    for file in _CLASSES:
        settings = read_json_object(folder / file)
        if settings.pop("auto_map", None) is not None:
            write_json(folder / file, settings)


def _module(kind: type) -> str:
    """Inside the package: "tokenizer.model"."""
    return kind.__module__.split(".", 1)[1]
