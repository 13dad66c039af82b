"""pictogram: images as a discrete language for transformers.

The names below are the public API. They are imported on first use, so that ``import pictogram`` is quick and needs
neither torch nor transformers.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .hub.errors import InputError as InputError
    from .lm.bundle import Bundle as Bundle
    from .lm.bundle_push import push_bundle as push_bundle
    from .lm.extend import extend_language_model as extend_language_model
    from .lm.grow import grow_bundle as grow_bundle
    from .lm.processor import GrammarLogitsProcessor as GrammarLogitsProcessor
    from .lm.vocabulary import JointVocabulary as JointVocabulary
    from .pipelines.image_codec import ImageCodec as ImageCodec
    from .pipelines.image_completion import ImageCompletionPipeline as ImageCompletionPipeline
    from .pipelines.image_to_text import ImageToTextPipeline as ImageToTextPipeline
    from .pipelines.text_to_image import TextToImagePipeline as TextToImagePipeline
    from .tokenizer.adapter import AdaptedTokenizer as AdaptedTokenizer
    from .tokenizer.codes_dataset import load_codes as load_codes
    from .tokenizer.codes_push import push_codes as push_codes
    from .tokenizer.config import ImageTokenizerConfig as ImageTokenizerConfig
    from .tokenizer.embedded import load_embedded as load_embedded
    from .tokenizer.image_processor import ImageTokenizerImageProcessorPil as ImageTokenizerImageProcessorPil
    from .tokenizer.import_tokenizer import import_tokenizer as import_tokenizer
    from .tokenizer.loading import load_image_tokenizer as load_image_tokenizer
    from .tokenizer.model import ImageTokenizer as ImageTokenizer
    from .tokenizer.remote_code import export_remote_code as export_remote_code
    from .tokenizer.tokenizer_push import push_image_tokenizer as push_image_tokenizer

_HOME = {
    "InputError": "hub.errors",
    "Bundle": "lm.bundle",
    "push_bundle": "lm.bundle_push",
    "extend_language_model": "lm.extend",
    "grow_bundle": "lm.grow",
    "GrammarLogitsProcessor": "lm.processor",
    "JointVocabulary": "lm.vocabulary",
    "ImageCodec": "pipelines.image_codec",
    "ImageCompletionPipeline": "pipelines.image_completion",
    "ImageToTextPipeline": "pipelines.image_to_text",
    "TextToImagePipeline": "pipelines.text_to_image",
    "AdaptedTokenizer": "tokenizer.adapter",
    "load_codes": "tokenizer.codes_dataset",
    "push_codes": "tokenizer.codes_push",
    "ImageTokenizerConfig": "tokenizer.config",
    "load_embedded": "tokenizer.embedded",
    "ImageTokenizerImageProcessorPil": "tokenizer.image_processor",
    "import_tokenizer": "tokenizer.import_tokenizer",
    "load_image_tokenizer": "tokenizer.loading",
    "ImageTokenizer": "tokenizer.model",
    "export_remote_code": "tokenizer.remote_code",
    "push_image_tokenizer": "tokenizer.tokenizer_push",
}

__all__ = ["__version__", *sorted(_HOME)]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("pictogram")
    if name in _HOME:
        return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
