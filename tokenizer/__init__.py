"""Pictures <-> codes. Importing this package registers the image tokenizers with transformers' Auto classes."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel

from .adapter import AdaptedTokenizer
from .adapter_config import AdaptedTokenizerConfig
from .config import ImageTokenizerConfig
from .image_processor import ImageTokenizerImageProcessorPil
from .model import ImageTokenizer

for _config, _model in ((ImageTokenizerConfig, ImageTokenizer), (AdaptedTokenizerConfig, AdaptedTokenizer)):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
    AutoImageProcessor.register(
        _config, image_processor_classes={"pil": ImageTokenizerImageProcessorPil}, exist_ok=True
    )

__all__ = [
    "AdaptedTokenizer",
    "AdaptedTokenizerConfig",
    "ImageTokenizer",
    "ImageTokenizerConfig",
    "ImageTokenizerImageProcessorPil",
]
