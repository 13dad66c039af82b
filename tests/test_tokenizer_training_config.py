import pytest

from pictogram.hub.errors import InputError
from pictogram.tokenizer.training_config import TokenizerTrainingConfig


def test_shapes_and_constants_reach_the_model():
    config = TokenizerTrainingConfig(
        image_size=64, num_channels=1, strides="image, 16,8", codebook_sizes="4,8, 8", quantizer="l2", codebook_dim=8,
        gradient_estimator="rotation", commitment_weight=0.5, prefix_weights="0.1, 0.2",
    ).model_config()  # fmt: skip
    assert (config.strides, config.codebook_sizes) == (["image", 16, 8], [4, 8, 8])
    assert (config.image_size, config.num_channels, config.codebook_dim) == (64, 1, 8)
    assert (config.quantizer, config.gradient_estimator, config.commitment_weight) == ("l2", "rotation", 0.5)
    assert config.prefix_weights == [0.1, 0.2]


def test_the_processor_of_grey_padded_pictures():
    processor = TokenizerTrainingConfig(num_channels=1, pad=True, background="black").image_processor()
    assert (processor.num_channels, processor.do_pad, processor.background_colour) == (1, True, (0, 0, 0))
    assert processor.size == {"height": 32, "width": 32}


def test_frozen_parts():
    config = TokenizerTrainingConfig(start_from="there", freeze="encoder, codebook")
    assert config.frozen_parts == ["encoder", "codebook"]
    assert TokenizerTrainingConfig().frozen_parts == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"start_from": "there", "freeze": "encoders"},
            "freeze must be among encoder, codebook, decoder, symbols, got 'encoders'",
        ),
        ({"freeze": "encoder"}, "needs --from"),
        ({"start_from": "there", "freeze": "encoder,decoder"}, "nothing is left to train"),
        ({"learning_rate": float("inf")}, "learning_rate must be a finite number, got inf"),
        ({"num_channels": 4}, "num_channels must be one of 1, 3, got 4"),
        ({"quantizer": "rvq"}, "quantizer must be one of ema, l2, fsq, lfq"),
        ({"optimizer": "sgd"}, "optimizer must be one of muon, adamw"),
        ({"background": "grey"}, "background must be one of"),
        ({"mixed_precision": "fp16", "optimizer": "muon"}, "works with one optimizer"),
        ({"mixed_precision": "fp16", "adversarial_weight": 0.1}, "works with one optimizer"),
    ],
)
def test_mistakes(settings, message):
    with pytest.raises(InputError, match=message):
        TokenizerTrainingConfig(**settings)


def test_shapes_of_a_continued_model_cannot_be_changed():
    found = TokenizerTrainingConfig(hidden_size=48, strides="image,8", codebook_sizes="4,8").model_config()
    continued = TokenizerTrainingConfig(start_from="there", commitment_weight=1.0, prefix_weights="0.2")
    config = continued.continued_config(found)
    assert (config.hidden_size, config.strides, config.codebook_sizes) == (48, ["image", 8], [4, 8])
    assert (config.commitment_weight, config.prefix_weights) == (1.0, [0.2])
    same = TokenizerTrainingConfig(start_from="there", hidden_size=48).continued_config(found)
    assert same.hidden_size == 48
    with pytest.raises(InputError, match="hidden_size is 48 in there and stays so, got 64"):
        TokenizerTrainingConfig(start_from="there", hidden_size=64).continued_config(found)


def test_prefix_weights_of_a_continued_model_are_as_many_as_its_levels_need():
    found = TokenizerTrainingConfig(strides="image,16,8,4", codebook_sizes="4,8,8,8").model_config()
    continued = TokenizerTrainingConfig(start_from="there", prefix_weights="0.1,0.2,0.3").continued_config(found)
    assert continued.prefix_weights == [0.1, 0.2, 0.3]
    with pytest.raises(InputError, match="needs 3 finite weights"):
        TokenizerTrainingConfig(start_from="there", prefix_weights="0.1,0.2").continued_config(found)


def test_a_rate_does_not_go_with_symbols_that_stay():
    found = TokenizerTrainingConfig(rate_weight=2.0).model_config()
    with pytest.raises(InputError, match=r"freeze symbols keeps whole-image codes as they are, .*got rate_weight 2\.0"):
        TokenizerTrainingConfig(start_from="there", freeze="symbols").continued_config(found)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("0.1,0.1,0.1", "needs 2 finite weights"),
        ("a", "prefix_weights must be numbers, got 'a'"),
        ("-0.5", "needs 2 finite weights"),
    ],
)
def test_prefix_weights_that_do_not_fit_the_levels(weights, message):
    with pytest.raises(InputError, match=message):
        TokenizerTrainingConfig(prefix_weights=weights).model_config()
