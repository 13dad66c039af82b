import numpy as np
import pytest
import torch
from tiny_pictures import damaged_folder, picture, png, write_files

from pictogram.hub.errors import InputError
from pictogram.tokenizer import pixel_dataset
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.images import load_image_source
from pictogram.tokenizer.padding import Box
from pictogram.tokenizer.pixel_dataset import PixelDataset, load_pixels


def test_pixel_dataset_gives_the_processor_s_own_values():
    source = load_image_source("embedded").select(range(4))
    processor = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 24})
    expected = processor([source.read(index) for index in range(4)], return_tensors="pt")["pixel_values"]
    dataset = PixelDataset(source, processor)
    for _ in range(2):  # decoded, then from memory
        assert torch.equal(dataset.pixels(range(4)), expected)
        assert torch.equal(dataset[2], expected[2])
    assert dataset.pixels([3, 0]).dtype == torch.float32
    batches = torch.utils.data.DataLoader(dataset, batch_size=2)
    assert torch.equal(torch.cat(list(batches)), expected)


def test_pixel_dataset_of_padded_grey_pictures(tmp_path):
    for name, size in {"a.png": (28, 28), "b.png": (27, 30), "c.png": (64, 32)}.items():
        picture(len(name), size).convert("L").save(tmp_path / name)
    source = load_image_source(str(tmp_path))
    processor = ImageTokenizerImageProcessorPil(do_pad=True, num_channels=1, background=[0, 0, 0])
    expected = processor([source.read(index) for index in range(3)], return_tensors="pt")["pixel_values"]
    dataset = PixelDataset(source, processor)
    assert dataset.content_box(1) == Box(1, 2, 30, 27)  # read for its size
    for _ in range(2):
        assert torch.equal(dataset.pixels(range(3)), expected)
    assert expected.shape == (3, 1, 32, 32)
    assert [dataset.content_box(index) for index in (0, 2)] == [Box(2, 2, 28, 28), Box(8, 0, 16, 32)]
    inside = Box(2, 2, 28, 28).of(dataset[0])
    assert torch.equal(((inside + 1) * 127.5).round()[0], torch.tensor(np.asarray(source.read(0).convert("L"))).float())


def test_pixel_dataset_beyond_its_memory(monkeypatch):
    monkeypatch.setattr(pixel_dataset, "_CACHE_BYTES", 3 * 32 * 32 * 2)
    source = load_image_source("embedded").select(range(4))
    dataset = PixelDataset(source, ImageTokenizerImageProcessorPil())
    assert torch.equal(dataset.pixels(range(4)), dataset.pixels(range(4)))
    assert len(dataset._cache) == 2


def test_pixel_dataset_of_several_sizes(tmp_path):
    write_files(tmp_path, {"a.png": png(0, (8, 4)), "b.png": png(1, (4, 8))})
    dataset = PixelDataset(load_image_source(str(tmp_path)), ImageTokenizerImageProcessorPil(do_resize=False))
    assert dataset[0].shape == (3, 4, 8)
    with pytest.raises(InputError, match="one size"):
        dataset.pixels([0, 1])


def test_load_pixels_leaves_out_what_cannot_be_read(tmp_path):
    dataset, failures = load_pixels(damaged_folder(tmp_path), "train", ImageTokenizerImageProcessorPil())
    assert (len(dataset), len(failures)) == (3, 5)
    assert dataset.pixels(range(3)).shape == (3, 3, 32, 32)
