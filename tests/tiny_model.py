"""A tokenizer of the tiniest size, and pictures for it."""

from typing import Any, cast

import torch

from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.ema_codebook import EMACodebook
from pictogram.tokenizer.model import ImageCodes, ImageTokenizer
from pictogram.tokenizer.objective import last_layer

SHAPES = [
    {"strides": [8], "patch_size": 4},
    {"strides": ["image", 8], "patch_size": 8},
    {"strides": [8, 4], "patch_size": 2},
    {"strides": ["image", 8, 4], "patch_size": 4},
    {"strides": [4, 4, 4], "patch_size": 4},  # a residual quantizer: equal grids
    {"strides": ["image", 8, 8, 2], "patch_size": 1},
]


def make(seed: int = 0, **settings: Any) -> ImageTokenizer:
    """A random tokenizer whose codes vary from picture to picture."""
    torch.manual_seed(seed)
    strides = settings.pop("strides", ["image", 8, 4])
    sizes = settings.pop("codebook_sizes", [5, 6, 7, 8][: len(strides)])
    settings = {"image_size": 16, "hidden_size": 8, "codebook_dim": 4} | settings
    model = ImageTokenizer(ImageTokenizerConfig(strides=strides, codebook_sizes=sizes, **settings)).eval()
    with torch.no_grad():
        for absent in model.decoder.absent:
            absent.normal_()
    model.start_codebooks(pictures(8, 16, 16, seed=1)[:, : model.config.num_channels], seed=0)
    return model


def pictures(count: int, height: int = 16, width: int = 16, seed: int = 0) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def ema_codebooks(model: ImageTokenizer) -> list[EMACodebook]:
    return cast(list[EMACodebook], list(model.codebooks))


def random_codes(model: ImageTokenizer, like: ImageCodes, seed: int = 0) -> ImageCodes:
    generator = torch.Generator().manual_seed(seed)
    sizes = model.config.codebook_sizes
    return tuple(torch.randint(size, level.shape, generator=generator) for size, level in zip(sizes, like, strict=True))


def equal(first: ImageCodes, second: ImageCodes) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(first, second, strict=True)]


def dim(model: ImageTokenizer) -> ImageTokenizer:
    """The same tokenizer with values that do not leave [-1, 1], where decoding clamps them."""
    with torch.no_grad():
        last_layer(model).mul_(0.1)
    return model
