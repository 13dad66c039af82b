import json
import math

import numpy as np
import pytest
import torch

from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.evaluation import TokenizerEvaluation, batches, evaluate_tokenizer, psnr, to_8bit
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_images
from pictogram.tokenizer.images import PixelDataset, load_image_source
from pictogram.tokenizer.model import ImageTokenizer


@pytest.fixture
def dataset(image_folder) -> PixelDataset:
    processor = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16})
    return PixelDataset(load_image_source(str(image_folder)).select(range(10)), processor)


@pytest.fixture
def model(dataset) -> ImageTokenizer:
    torch.manual_seed(0)
    config = ImageTokenizerConfig(image_size=16, strides=["image", 8], codebook_sizes=[4, 5], hidden_size=8)
    model = ImageTokenizer(config).eval()
    model.start_codebooks(dataset.pixels(range(10)), seed=0)
    return model


def test_to_8bit_is_what_pictures_are_saved_as():
    values = torch.linspace(-1.2, 1.2, 1001)
    image = to_images(values.view(1, 1, 7, 143).expand(1, 3, -1, -1))[0]
    assert to_8bit(values).view(7, 143).tolist() == np.asarray(image)[:, :, 0].tolist()
    levels = torch.arange(256.0)
    assert torch.equal(to_8bit(levels / 127.5 - 1), levels)


def test_psnr():
    assert psnr(255**2) == 0
    assert psnr(1.0) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(0.0) == math.inf


def test_batches_cover_the_pictures_in_order(dataset):
    parts = list(batches(dataset, 4))
    assert [len(part) for part in parts] == [4, 4, 2]
    assert torch.equal(torch.cat(parts), dataset.pixels(range(10)))


def test_figures_by_hand(model, dataset):
    evaluation = evaluate_tokenizer(model, dataset)
    pixel_values = dataset.pixels(range(10))
    codes = model.encode(pixel_values)
    assert evaluation.num_images == 10
    for index, level in enumerate(codes):
        error = to_8bit(model.decode(codes, index + 1)) - to_8bit(pixel_values)
        assert evaluation.psnr[index] == pytest.approx(psnr(float(error.double().square().mean())))
        size = model.config.codebook_sizes[index]
        counts = torch.bincount(level.flatten(), minlength=size).double()
        assert evaluation.usage[index] == pytest.approx(float((counts > 0).double().mean()))
        entropy = float(torch.special.entr(counts / counts.sum()).sum() / math.log(2))
        assert evaluation.perplexity[index] == pytest.approx(2**entropy)
        assert evaluation.static_bits[index] == pytest.approx(entropy * level[0].numel())
        assert 1 <= evaluation.perplexity[index] <= size
    assert evaluation.to_dict()["psnr"] == evaluation.psnr


def test_the_batch_size_does_not_matter_and_progress_is_told(model, dataset):
    done: list[int] = []
    small = evaluate_tokenizer(model, dataset, batch_size=3, progress=done.append)
    assert done == [3, 3, 3, 1]
    large = evaluate_tokenizer(model, dataset)
    assert small.usage == large.usage
    assert small.psnr == pytest.approx(large.psnr, rel=1e-6)


def test_one_code_for_everything_has_no_entropy(model, dataset):
    for codebook in model._codebooks():
        codebook.embedding.weight[1:] = 1e6
    evaluation = evaluate_tokenizer(model, dataset)
    assert evaluation.perplexity == [1, 1]
    assert evaluation.static_bits == [0, 0]
    assert evaluation.usage == [1 / 4, 1 / 5]


def test_sizes_other_than_the_training_size(model, image_folder):
    processor = ImageTokenizerImageProcessorPil(size={"height": 8, "width": 24})
    evaluation = evaluate_tokenizer(model, PixelDataset(load_image_source(str(image_folder)), processor))
    assert all(math.isfinite(value) for value in evaluation.psnr)


def test_a_perfect_copy_is_null_in_json():
    evaluation = TokenizerEvaluation(1, psnr=[20.0, math.inf], usage=[1.0], perplexity=[1.0], static_bits=[0.0])
    assert json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))["psnr"] == [20.0, None]
