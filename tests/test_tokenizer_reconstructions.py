import numpy as np
import pytest
import torch

from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_8bit, to_images
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.padding import Box
from pictogram.tokenizer.pixel_dataset import PixelDataset
from pictogram.tokenizer.reconstructions import decode_prefixes, over_contents, reconstruct, row_batches


@pytest.fixture
def dataset(image_folder) -> PixelDataset:
    processor = ImageTokenizerImageProcessorPil(size={"height": 24, "width": 24}, do_pad=True)
    return PixelDataset(load_image_source(str(image_folder)).select(range(10)), processor)


@pytest.fixture
def model() -> ImageTokenizer:
    torch.manual_seed(0)
    config = ImageTokenizerConfig(image_size=24, strides=["image", 8], codebook_sizes=[4, 5], hidden_size=8)
    return ImageTokenizer(config).eval()


def test_to_8bit_is_what_pictures_are_saved_as():
    values = torch.linspace(-1.2, 1.2, 1001)
    image = to_images(values.view(1, 1, 7, 143).expand(1, 3, -1, -1))[0]
    assert to_8bit(values).view(7, 143).tolist() == np.asarray(image)[:, :, 0].tolist()
    levels = torch.arange(256.0)
    assert torch.equal(to_8bit(levels / 127.5 - 1), levels)


def test_row_batches_cover_the_rows_in_order():
    assert [list(rows) for rows in row_batches(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(row_batches(0, 4)) == []


def test_pictures_beside_their_decodings(model, dataset):
    done: list[int] = []
    batches = list(reconstruct(model, dataset, batch_size=4, progress=done.append))
    assert done == [4, 4, 2]
    pixel_values = dataset.pixels(range(10))
    assert torch.equal(torch.cat([batch.original for batch in batches]), to_8bit(pixel_values))
    first = batches[0]
    codes = model.encode(pixel_values[:4])
    assert all(torch.equal(found, level) for found, level in zip(first.codes, codes, strict=True))
    for number, prefix in enumerate(first.prefixes, 1):
        assert prefix is not None and torch.equal(prefix, to_8bit(model.decode(codes, number)))
    assert first.boxes == [Box(4, 4, 16, 16)] * 4


def test_prefixes_that_a_tokenizer_does_not_decode_are_none():
    settings = {
        "embed_dim": 4, "num_embeddings": 8, "latent_channels": 4, "resolution": 16, "base_channels": 32,
        "channel_multiplier": [1, 1], "num_res_blocks": 1,
    }  # fmt: skip
    model = AdaptedTokenizer(AdaptedTokenizerConfig(layout="chameleon", settings=settings))
    codes = model.encode(torch.zeros(1, 3, 16, 16))
    assert decode_prefixes(model, codes) == [None]


def test_functions_see_what_lies_inside_the_boxes():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.rand(2, 5, 3, 8, 8, generator=generator)
    boxes = [Box(0, 0, 8, 8), Box(1, 2, 4, 3), Box(0, 0, 8, 8), Box(1, 2, 4, 3), Box(7, 7, 1, 1)]
    found = over_contents(boxes, lambda a, b: (a * b).sum((2, 3)), first, second)
    expected = [(box.of(a) * box.of(b)).sum((1, 2)) for box, a, b in zip(boxes, first, second, strict=True)]
    assert torch.allclose(found, torch.stack(expected))
    assert found.shape == (5, 3)
