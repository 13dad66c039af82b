"""Pictures <-> codes. Importing this package registers the image tokenizer with transformers' Auto classes."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel

from .config import ImageTokenizerConfig
from .image_processor import ImageTokenizerImageProcessorPil
from .model import ImageTokenizer

AutoConfig.register(ImageTokenizerConfig.model_type, ImageTokenizerConfig, exist_ok=True)
AutoModel.register(ImageTokenizerConfig, ImageTokenizer, exist_ok=True)
AutoImageProcessor.register(
    ImageTokenizerConfig, image_processor_classes={"pil": ImageTokenizerImageProcessorPil}, exist_ok=True
)

__all__ = ["ImageTokenizer", "ImageTokenizerConfig", "ImageTokenizerImageProcessorPil"]
