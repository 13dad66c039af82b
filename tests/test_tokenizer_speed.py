import torch
from tiny_chain import image_tokenizer

from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig
from pictogram.tokenizer.speed import measure_speed


def test_seconds_and_what_they_depend_on():
    speed = measure_speed(image_tokenizer(), torch.zeros(3, 3, 16, 16), repeats=2)
    assert 0 < speed.encode < 10
    assert speed.decode is not None and 0 < speed.decode < 10
    assert (speed.batch_size, speed.repeats, speed.threads, speed.device) == (3, 2, torch.get_num_threads(), "cpu")


def test_a_tokenizer_without_a_decoder():
    settings = {
        "embed_dim": 4, "num_embeddings": 8, "latent_channels": 4, "resolution": 16, "base_channels": 32,
        "channel_multiplier": [1, 1], "num_res_blocks": 1,
    }  # fmt: skip
    model = AdaptedTokenizer(AdaptedTokenizerConfig(layout="chameleon", settings=settings))
    speed = measure_speed(model, torch.zeros(2, 3, 16, 16), repeats=1)
    assert speed.encode > 0
    assert speed.decode is None
