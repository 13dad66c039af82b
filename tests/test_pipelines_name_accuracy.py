from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny_chain import NUM_PICTURES, pictures, processor, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.pipelines import name_accuracy as module
from pictogram.pipelines.name_accuracy import measure_name_accuracy
from pictogram.tokenizer.pixel_dataset import PixelDataset, load_pixels


def dataset() -> PixelDataset:
    return load_pixels(str(pictures()), "train", processor())[0]


def test_samples_that_are_the_pictures_score_1(monkeypatch):
    """With the pictures themselves for decoded samples, every caption finds its picture."""
    data = dataset()
    rows_of = {data.source.captions(row)[0]: row for row in range(len(data))}

    class Perfect:
        def __init__(self, bundle):
            self.bundle = bundle

        def __call__(self, captions, **_):
            rows = [rows_of[caption] for caption in captions]
            return SimpleNamespace(codes=(torch.tensor(rows),))

    class Knowing:
        def __init__(self, bundle):
            self.captions = {data.source.read(row).tobytes(): data.source.captions(row)[0] for row in range(len(data))}

        def __call__(self, images):
            return SimpleNamespace(captions=[self.captions[image.tobytes()] for image in images])

    monkeypatch.setattr(module, "TextToImagePipeline", Perfect)
    monkeypatch.setattr(module, "ImageToTextPipeline", Knowing)
    monkeypatch.setattr(
        module,
        "_decode",
        lambda bundle, codes: module.to_8bit(data.pixels(codes[0].flatten().tolist()[: len(codes[0])])),
    )
    monkeypatch.setattr(shared_bundle().image_tokenizer, "encode", lambda pixels: (torch.zeros(len(pixels)).long(),))
    accuracy = measure_name_accuracy(shared_bundle(), data, seed=0)
    assert accuracy.name_accuracy == accuracy.without_guidance == accuracy.caption_accuracy == 1.0
    assert accuracy.shuffled_captions is not None and accuracy.shuffled_captions < 0.5
    assert accuracy.reconstructions < 0.5
    assert accuracy.num_training_pictures == NUM_PICTURES
    assert accuracy.num_captions == NUM_PICTURES - 2  # two pictures have no words


def test_it_is_a_pure_function_of_its_seed():
    first, second = (measure_name_accuracy(shared_bundle(), dataset(), seed=4, num_captions=5) for _ in range(2))
    assert first == second
    assert first.num_captions == 5
    content = first.to_dict()
    assert "memorisation" in content["note"]
    assert {"name_accuracy", "without_guidance", "reconstructions", "shuffled_captions"} <= set(content)
    assert all(0 <= content[name] <= 1 for name in ("name_accuracy", "reconstructions", "shuffled_captions"))


def test_the_nearest_picture_by_plain_counting():
    generator = torch.Generator().manual_seed(0)
    training = torch.randint(0, 256, (30, 3, 4, 4), generator=generator).float()
    noise = torch.randint(-9, 10, (8, 3, 4, 4), generator=generator)
    queries = (training[[3, 3, 7, 29, 0, 11, 20, 5]] + noise).clamp(0, 255)
    training[17] = training[3]  # equal pictures: the first one counts
    expected = [int((training - query).square().sum((1, 2, 3)).argmin()) for query in queries]
    assert module._nearest(queries, training) == expected
    assert module._nearest(training, training)[17] == 3


def test_nothing_to_recall_is_refused():
    data = dataset()
    wordless = replace(data.source, caption_column=None)
    with pytest.raises(InputError, match="has no captions"):
        measure_name_accuracy(shared_bundle(), PixelDataset(wordless, processor()), seed=0)
    with pytest.raises(InputError, match="num_captions must be at least 1, got -5"):
        measure_name_accuracy(shared_bundle(), data, seed=0, num_captions=-5)
