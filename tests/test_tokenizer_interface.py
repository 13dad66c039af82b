import inspect
import json

import pytest
import torch

from pictogram.tokenizer import AdaptedTokenizer
from pictogram.tokenizer.config import QUANTIZERS, ImageTokenizerConfig
from pictogram.tokenizer.interface import ImageCodes, TokenizerConfig, TokenizesImages
from pictogram.tokenizer.model import ImageTokenizer

METHODS = [name for name, value in vars(TokenizesImages).items() if inspect.isfunction(value) and name[0] != "_"]


def make(quantizer: str = "ema") -> ImageTokenizer:
    config = ImageTokenizerConfig(
        quantizer=quantizer, image_size=16, codebook_sizes=[16, 64, 64], hidden_size=8, num_blocks=0
    )
    return ImageTokenizer(config).eval()


def test_type_checkers_see_that_the_tokenizer_fits():
    tokenizer: TokenizesImages = make()
    config: TokenizerConfig = tokenizer.config
    assert config.num_levels == 3


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", [ImageTokenizer, AdaptedTokenizer])
def test_every_tokenizer_takes_what_the_interface_says(kind, name):
    wanted = inspect.signature(getattr(TokenizesImages, name)).parameters
    found = inspect.signature(getattr(kind, name)).parameters
    for parameter in wanted:
        assert parameter in found
        assert found[parameter].default == wanted[parameter].default
    extra = [parameter for parameter in found.values() if parameter.name not in wanted]
    assert all(
        parameter.default is not parameter.empty or parameter.kind == parameter.VAR_KEYWORD for parameter in extra
    )


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_answers_have_the_shapes_and_types_of_the_interface(quantizer):
    tokenizer: TokenizesImages = make(quantizer)
    codes: ImageCodes = tokenizer.encode(torch.zeros(2, 3, 16, 16))
    assert [(grid.dtype, tuple(grid.shape)) for grid in codes] == [
        (torch.int64, (2, *grid)) for grid in tokenizer.config.grids(16, 16)
    ]
    assert tokenizer.decode(codes).shape == (2, 3, 16, 16)
    assert tokenizer.device == torch.device("cpu")
    for level, size in enumerate(tokenizer.config.codebook_sizes):
        assert len(tokenizer.code_vectors(level)) == size
        assert tokenizer.code_vectors(level).dtype == torch.float32
    for settings in (tokenizer.codes_settings(), tokenizer.picture_settings()):
        assert json.loads(json.dumps(settings)) == settings
    for tensors in (tokenizer.codes_tensors(), tokenizer.picture_tensors()):
        assert tensors
        assert all(isinstance(tensor, torch.Tensor) for tensor in tensors.values())


def test_settings_tell_quantizers_apart():
    settings = {json.dumps(make(quantizer).codes_settings(), sort_keys=True) for quantizer in QUANTIZERS}
    assert len(settings) == len(QUANTIZERS)
