import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from pictogram.hub.errors import InputError
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_images


def random_image(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def pixels(processor, images, **kwargs) -> torch.Tensor:
    return processor(images, return_tensors="pt", **kwargs)["pixel_values"]


def test_right_sized_pictures_come_through_exactly():
    images = [random_image(32, 32, seed) for seed in range(3)]
    pixel_values = pixels(ImageTokenizerImageProcessorPil(), images)
    assert pixel_values.shape == (3, 3, 32, 32)
    assert pixel_values.dtype == torch.float32
    for before, after in zip(images, to_images(pixel_values), strict=True):
        assert np.array_equal(np.asarray(before), np.asarray(after))


def test_values_are_v_over_127_5_minus_1():
    ramp = Image.frombytes("L", (16, 16), bytes(range(256)))
    pixel_values = pixels(ImageTokenizerImageProcessorPil(size={"height": 16, "width": 16}), ramp)
    expected = torch.arange(256).view(16, 16).double() / 127.5 - 1
    assert (pixel_values[0, 0].double() - expected).abs().max() < 1e-6
    assert (pixel_values.min(), pixel_values.max()) == (-1, 1)


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (31, 33), (100, 7), (1, 1), (1, 500), (16, 16)])
def test_odd_sizes_are_covered_and_cropped(size):
    assert pixels(ImageTokenizerImageProcessorPil(), random_image(*size)).shape == (1, 3, 32, 32)


def test_the_centre_is_kept_in_proportion():
    image = Image.new("RGB", (96, 32), (255, 0, 0))  # red, blue, red: the crop is the blue middle
    image.paste((0, 0, 255), (32, 0, 64, 32))
    (cropped,) = to_images(pixels(ImageTokenizerImageProcessorPil(), image))
    assert cropped.getpixel((16, 16)) == (0, 0, 255)
    assert cropped.getpixel((2, 16)) == (0, 0, 255)
    (stretched,) = to_images(pixels(ImageTokenizerImageProcessorPil(), image, do_center_crop=False))
    assert stretched.getpixel((2, 16)) == (255, 0, 0)


def test_size_that_is_not_square():
    processor = ImageTokenizerImageProcessorPil(size={"height": 16, "width": 24})
    assert pixels(processor, random_image(50, 50)).shape == (1, 3, 16, 24)


def test_native_sizes():
    processor = ImageTokenizerImageProcessorPil(do_resize=False)
    assert pixels(processor, random_image(21, 13)).shape == (1, 3, 13, 21)
    with pytest.raises(InputError, match="different sizes"):
        pixels(processor, [random_image(21, 13), random_image(13, 21)])


def test_modes_go_through_to_rgb_with_the_background():
    clear = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    assert pixels(ImageTokenizerImageProcessorPil(), clear).min() == 1
    processor = ImageTokenizerImageProcessorPil(background=[0, 0, 255])
    assert pixels(processor, clear)[0, :, 0, 0].tolist() == [-1, -1, 1]
    assert pixels(processor, clear, background=[255, 0, 0])[0, :, 0, 0].tolist() == [1, -1, -1]
    grey = Image.fromarray(np.full((32, 32), 65535, dtype=np.uint16))
    assert pixels(processor, grey).min() == 1


@pytest.mark.parametrize("background", [[0, 0], [0, 0, 256]])
def test_impossible_background(background):
    with pytest.raises(InputError, match="background must be"):
        pixels(ImageTokenizerImageProcessorPil(background=background), random_image(32, 32))


def test_arrays_and_tensors():
    processor = ImageTokenizerImageProcessorPil()
    array = np.asarray(random_image(32, 32))
    expected = pixels(processor, Image.fromarray(array))
    assert torch.equal(pixels(processor, array), expected)
    assert torch.equal(pixels(processor, torch.tensor(array).permute(2, 0, 1)), expected)
    with pytest.raises(InputError, match="8-bit"):
        pixels(processor, array.astype(np.float32) / 255)


def test_size_must_be_height_and_width():
    with pytest.raises(InputError, match="height"):
        pixels(ImageTokenizerImageProcessorPil(size={"shortest_edge": 8}), random_image(32, 30))


def test_save_and_load(tmp_path):
    settings = {"size": {"height": 8, "width": 16}, "background": [1, 2, 3], "do_center_crop": False, "resample": 1}
    processor = ImageTokenizerImageProcessorPil(**settings)
    processor.save_pretrained(tmp_path)
    loaded = ImageTokenizerImageProcessorPil.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict() | {"background": loaded.background}
    assert loaded.background_colour == (1, 2, 3)
    image = random_image(40, 30)
    assert torch.equal(pixels(loaded, image), pixels(processor, image))


def test_auto_class(tmp_path):
    ImageTokenizerImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(tmp_path)
    ImageTokenizerConfig().save_pretrained(tmp_path)
    loaded = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(loaded) is ImageTokenizerImageProcessorPil
    assert loaded.size["height"] == 8


def test_instances_do_not_share_defaults():
    first = ImageTokenizerImageProcessorPil()
    first.size["height"] = 99
    assert ImageTokenizerImageProcessorPil().size["height"] == 32


def test_to_images_clamps_and_rounds_half_up():
    values = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).expand(1, 3, 1, 5)
    (image,) = to_images(values)
    assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_to_images_refuses_other_shapes():
    with pytest.raises(InputError, match=r"\(B, 3, H, W\)"):
        to_images(torch.zeros(3, 4, 4))
