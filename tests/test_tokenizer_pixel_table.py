import torch
from tiny_pictures import picture

from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.pixel_table import PixelTable


def test_floats_are_the_processor_s_own():
    processor = ImageTokenizerImageProcessorPil(
        size={"height": 8, "width": 8}, image_mean=[0.1, 0.2, 0.3], image_std=[0.3, 0.7, 0.9]
    )
    bytes_ = processor(picture(), do_rescale=False, do_normalize=False, return_tensors="pt")["pixel_values"]
    floats = PixelTable(processor).floats(bytes_)
    assert floats.dtype == torch.float32
    assert torch.equal(floats, processor(picture(), return_tensors="pt")["pixel_values"])
    assert torch.equal(PixelTable(processor).floats(bytes_[0]), floats[0])
