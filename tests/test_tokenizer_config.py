import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers import AutoConfig

from pictogram.hub.errors import InputError
from pictogram.tokenizer.config import QUANTIZERS, ImageTokenizerConfig
from pictogram.tokenizer.gradients import ESTIMATORS


def test_defaults():
    config = ImageTokenizerConfig()
    assert (config.num_levels, config.has_image_level, config.spatial_strides) == (3, True, [8, 4])
    assert config.bits_per_level == [6, 8, 8]
    assert config.prefix_weights == [0.1, 0.1]


@pytest.mark.parametrize(
    ("strides", "height", "width", "grids"),
    [
        (["image", 8, 4], 32, 32, ((1, 1), (4, 4), (8, 8))),
        (["image", 8, 4], 16, 40, ((1, 1), (2, 5), (4, 10))),
        ([8], 8, 16, ((1, 2),)),
        ([16, 8, 8], 32, 16, ((2, 1), (4, 2), (4, 2))),
    ],
)
def test_grids(strides, height, width, grids):
    config = ImageTokenizerConfig(strides=strides, codebook_sizes=[4] * len(strides))
    assert config.grids(height, width) == grids


@pytest.mark.parametrize(
    ("strides", "residual"),
    [
        (["image", 8, 4], [False, False, False]),
        (["image", 8, 8, 4, 4, 4], [False, False, True, False, True, True]),
        ([4, 4], [False, True]),
    ],
)
def test_levels_on_the_grid_before_them_are_residual(strides, residual):
    config = ImageTokenizerConfig(strides=strides, codebook_sizes=[4] * len(strides))
    assert [config.is_residual(level) for level in range(config.num_levels)] == residual


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_every_quantizer_and_estimator_is_allowed(quantizer):
    assert ImageTokenizerConfig(quantizer=quantizer).quantizer == quantizer
    for estimator in ESTIMATORS:
        if quantizer != "fsq":
            config = ImageTokenizerConfig(quantizer=quantizer, gradient_estimator=estimator)
            assert config.gradient_estimator == estimator


@pytest.mark.parametrize(("height", "width"), [(31, 32), (32, 36), (4, 8), (0, 8), (8, 0)])
def test_sides_the_strides_do_not_divide(height, width):
    with pytest.raises(InputError, match=rf"multiples of 8 pixels .* got {height}x{width}"):
        ImageTokenizerConfig().grids(height, width)


def test_round_trip(tmp_path):
    config = ImageTokenizerConfig(strides=(16, 4), codebook_sizes=(5, 6), prefix_weights=(0.25,), patch_size=2)
    config.save_pretrained(tmp_path)
    for loaded in (ImageTokenizerConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert isinstance(loaded, ImageTokenizerConfig)
        fields = ImageTokenizerConfig.__annotations__
        assert {name: getattr(loaded, name) for name in fields} == {name: getattr(config, name) for name in fields}
    assert loaded.strides == [16, 4]
    assert loaded.prefix_weights == [0.25]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strides": [], "codebook_sizes": []}, "one codebook size per stride"),
        ({"strides": [8, 4], "codebook_sizes": [4]}, "one codebook size per stride"),
        ({"strides": ["image"], "codebook_sizes": [4]}, "positive integers"),
        ({"strides": ["image", "image", 4]}, "positive integers"),
        ({"strides": [8, "image", 4]}, "positive integers"),
        ({"strides": ["picture", 8, 4]}, "positive integers"),
        ({"strides": ["image", 8, 0]}, "positive integers"),
        ({"strides": ["image", 4, 8]}, "multiple of the next"),
        ({"strides": ["image", 12, 8]}, "multiple of the next"),
        ({"patch_size": 8}, "patch_size 8"),
        ({"patch_size": 0}, "patch_size must be at least 1, got 0"),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"num_blocks": -1}, "num_blocks must be at least 0, got -1"),
        ({"codebook_sizes": [4, 0, 4]}, "at least 1"),
        ({"codebook_decay": 1.0}, "codebook_decay"),
        ({"prefix_weights": [0.5]}, "2 finite weights"),
        ({"prefix_weights": [0.5, float("inf")]}, "finite weights >= 0"),
        ({"prefix_weights": [-0.1, 0.5]}, "weights >= 0"),
        ({"prefix_weights": [float("nan"), 0.5]}, "weights >= 0"),
        ({"commitment_weight": -0.1}, "commitment_weight must be at least 0 and finite, got -0.1"),
        ({"entropy_weight": float("inf")}, "entropy_weight must be at least 0 and finite, got inf"),
        ({"revival_threshold": float("nan")}, "revival_threshold must be at least 0 and finite, got nan"),
        ({"quantizer": "vq"}, "quantizer must be one of ema, l2, fsq, lfq, got 'vq'"),
        (
            {"gradient_estimator": "gumbel"},
            "must be one of straight_through, rotation, got 'gumbel'",
        ),
        ({"quantizer": "fsq", "gradient_estimator": "rotation"}, "must be \"straight_through\", got 'rotation'"),
        ({"quantizer": "l2", "strides": ["image", 8, 8]}, "equal strides need the quantizer \"ema\", got 'l2'"),
        ({"quantizer": "fsq", "strides": [8, 4, 4]}, "equal strides need the quantizer \"ema\", got 'fsq'"),
        ({"quantizer": "lfq", "strides": [4, 4, 4]}, "equal strides need the quantizer \"ema\", got 'lfq'"),
    ],
)
def test_mistakes_are_input_errors_of_one_line(settings, message):
    with pytest.raises(InputError, match=message) as raised:
        ImageTokenizerConfig(**settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [{"hidden_size": "96"}, {"codebook_sizes": [4, "a", 4]}, {"strides": ["image", 8.0, 4]}, {"codebook_dim": 1.5}],
)
def test_wrong_types_are_refused(settings):
    with pytest.raises(StrictDataclassFieldValidationError, match=next(iter(settings))):
        ImageTokenizerConfig(**settings)


def test_whole_numbers_serve_as_floats():
    assert ImageTokenizerConfig(commitment_weight=1, revival_threshold=0).commitment_weight == 1
