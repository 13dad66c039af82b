import json

import pytest
from tiny_adapters import LAYOUTS, SETTINGS
from transformers import AutoConfig

from pictogram.hub.errors import InputError
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig


def test_shapes():
    config = AdaptedTokenizerConfig(layout="vqvae2")
    assert (config.num_levels, config.strides, config.spatial_strides) == (2, [8, 4], [8, 4])
    assert (config.codebook_sizes, config.bits_per_level) == ([512, 512], [9.0, 9.0])
    assert (config.num_channels, config.image_size, config.has_image_level) == (3, 256, False)
    assert config.grids(256, 64) == ((32, 8), (64, 16))
    assert AdaptedTokenizerConfig(layout="llamagen").grids(256, 256) == ((16, 16),)
    assert AdaptedTokenizerConfig(layout="emu3").grids(512, 512) == ((64, 64),)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saving_and_loading(layout, tmp_path):
    config = AdaptedTokenizerConfig(layout=layout, settings=SETTINGS[layout], image_size=24)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, AdaptedTokenizerConfig)
    names = ("layout", "settings", "image_size", "pixel_mean", "pixel_std")
    assert [getattr(loaded, name) for name in names] == [getattr(config, name) for name in names]


def test_the_file_holds_every_setting(tmp_path):
    AdaptedTokenizerConfig(layout="llamagen").save_pretrained(tmp_path)
    content = json.loads((tmp_path / "config.json").read_text())
    assert content["settings"]["encoder_ch_mult"] == [1, 1, 2, 2, 4]
    assert content["model_type"] == "pictogram_adapted_tokenizer"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "vqgan"}, "layout must be one of"),
        ({"settings": {"depth": 3}}, "a setting must be one of"),
        ({"image_size": 20}, "multiples of 8 pixels"),
        ({"image_size": -8}, "multiples of 8 pixels"),
        ({"pixel_mean": [0.5, 0.5]}, "pixel_mean must be one number or one for each of 3 channels"),
        ({"pixel_std": [0.5, 0.0, 0.5]}, "pixel_std must be above 0"),
        ({"pixel_std": [float("nan")]}, "pixel_std must be one number"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        AdaptedTokenizerConfig(**settings)


@pytest.mark.parametrize("side", [0, -8, 4, 12])
def test_sides_that_the_strides_do_not_divide(side):
    with pytest.raises(InputError, match="multiples of 8 pixels"):
        AdaptedTokenizerConfig(layout="vqvae2").grids(side, 16)
