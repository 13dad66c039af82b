"""Loading an image tokenizer together with its image processor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..hub.errors import InputError
from .image_processor import ImageTokenizerImageProcessorPil
from .model import ImageTokenizer

_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")


@dataclass(frozen=True)
class LoadedImageTokenizer:
    """An image tokenizer in evaluation mode, and the processor that makes its pixels."""

    model: ImageTokenizer
    processor: ImageTokenizerImageProcessorPil


def load_image_tokenizer(directory: str | os.PathLike[str]) -> LoadedImageTokenizer:
    """Loads both from a folder that `pictogram train-tokenizer` or `save_pretrained` wrote.

    Raises:
        InputError: a file is missing or damaged.
    """
    directory = Path(directory)
    missing = [name for name in _FILES if not (directory / name).is_file()]
    if missing:
        what = "is not a folder" if not directory.is_dir() else f"lacks {', '.join(missing)}"
        raise InputError(f"{directory} is not an image tokenizer: it {what}")
    try:
        model = ImageTokenizer.from_pretrained(directory, local_files_only=True)
        processor = ImageTokenizerImageProcessorPil.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"the image tokenizer in {directory} cannot be loaded: {first}") from error
    return LoadedImageTokenizer(model.eval(), processor)
