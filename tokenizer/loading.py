"""Loading an image tokenizer together with its image processor."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..hub.errors import InputError, first_line
from ..hub.files import read_json
from .adapter import AdaptedTokenizer
from .adapter_config import AdaptedTokenizerConfig
from .image_processor import ImageTokenizerImageProcessorPil
from .interface import TokenizesImages
from .model import ImageTokenizer

TOKENIZER_FILES = ("config.json", "model.safetensors", "preprocessor_config.json")
"""The files of an image tokenizer's folder."""


@dataclass(frozen=True)
class LoadedImageTokenizer:
    """An image tokenizer in evaluation mode, and the processor that makes its pixels."""

    model: TokenizesImages
    processor: ImageTokenizerImageProcessorPil


def load_image_tokenizer(directory: str | os.PathLike[str]) -> LoadedImageTokenizer:
    """Loads both from a folder that `pictogram train-tokenizer`, `import-tokenizer` or `save_pretrained` wrote.

    Raises:
        InputError: a file is missing or damaged.
    """
    directory = Path(directory)
    missing = [name for name in TOKENIZER_FILES if not (directory / name).is_file()]
    if missing:
        what = "is not a folder" if not directory.is_dir() else f"lacks {', '.join(missing)}"
        raise InputError(f"{directory} is not an image tokenizer: it {what}")
    try:
        loaded = _model_class(directory).from_pretrained(directory, local_files_only=True, output_loading_info=True)
        model, report = cast(tuple[ImageTokenizer | AdaptedTokenizer, dict[str, Any]], loaded)
        processor = ImageTokenizerImageProcessorPil.from_pretrained(directory, local_files_only=True)
    except Exception as error:
        raise InputError(f"the image tokenizer in {directory} cannot be loaded: {first_line(error)}") from error
    # transformers only warns of these and draws missing weights at random.
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"]})
    if wrong:
        raise InputError(
            f"{directory}/model.safetensors does not fit its config.json: {len(wrong)} tensors, {wrong[0]} first"
        )
    return LoadedImageTokenizer(model.eval(), processor)


def _model_class(directory: Path) -> type[ImageTokenizer] | type[AdaptedTokenizer]:
    """By the model type in config.json; a file that names none is left to our own tokenizer's checks."""
    config = read_json(directory / "config.json")
    is_adapted = isinstance(config, dict) and config.get("model_type") == AdaptedTokenizerConfig.model_type
    return AdaptedTokenizer if is_adapted else ImageTokenizer
