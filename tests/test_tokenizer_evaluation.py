import json
import math

import pytest
import torch

from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.distortion import psnr
from pictogram.tokenizer.evaluation import evaluate_tokenizer
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_8bit
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.pixel_dataset import PixelDataset


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


def test_figures_by_hand(model, dataset):
    evaluation = evaluate_tokenizer(model, dataset)
    pixel_values = dataset.pixels(range(10))
    codes = model.encode(pixel_values)
    assert evaluation.num_images == 10
    for index, level in enumerate(codes):
        error = (to_8bit(model.decode(codes, index + 1)) - to_8bit(pixel_values)).double().square()
        assert evaluation.distortion.psnr[index] == pytest.approx(psnr(float(error.mean())))
        each = [psnr(float(value)) for value in error.mean((1, 2, 3))]
        assert evaluation.distortion.mean_psnr[index] == pytest.approx(sum(each) / 10)
        size = model.config.codebook_sizes[index]
        counts = torch.bincount(level.flatten(), minlength=size).double()
        assert evaluation.usage[index] == pytest.approx(float((counts > 0).double().mean()))
        entropy = float(torch.special.entr(counts / counts.sum()).sum() / math.log(2))
        assert evaluation.perplexity[index] == pytest.approx(2**entropy)
        assert evaluation.static_bits[index] == pytest.approx(entropy * level[0].numel())
        assert 1 <= evaluation.perplexity[index] <= size


def test_the_document_has_one_level(model, dataset):
    evaluation = evaluate_tokenizer(model, dataset)
    document = evaluation.to_dict()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["psnr"] == evaluation.distortion.psnr
    assert set(document) == {
        "num_images", "psnr", "mean_psnr", "perfect_copies", "usage", "perplexity", "static_bits"
    }  # fmt: skip


def test_the_batch_size_does_not_matter_and_progress_is_told(model, dataset):
    done: list[int] = []
    small = evaluate_tokenizer(model, dataset, batch_size=3, progress=done.append)
    assert done == [3, 3, 3, 1]
    large = evaluate_tokenizer(model, dataset)
    assert small.usage == large.usage
    assert small.distortion.psnr == pytest.approx(large.distortion.psnr, rel=1e-6)


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
    assert all(value is not None and math.isfinite(value) for value in evaluation.distortion.psnr)


def test_padding_does_not_count(model, image_folder):
    source = load_image_source(str(image_folder)).select(range(6))
    dataset = PixelDataset(source, ImageTokenizerImageProcessorPil(size={"height": 24, "width": 24}, do_pad=True))
    pixel_values = dataset.pixels(range(6))
    decoded = model.decode(model.encode(pixel_values))
    error = (to_8bit(decoded) - to_8bit(pixel_values))[:, :, 4:20, 4:20].double().square().mean()
    assert evaluate_tokenizer(model, dataset).distortion.psnr[1] == pytest.approx(psnr(float(error)))
