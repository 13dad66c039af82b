import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from pictogram.hub.errors import InputError
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil, to_images
from pictogram.tokenizer.padding import Box


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
    for shape in ((3, 4, 4), (1, 2, 4, 4)):
        with pytest.raises(InputError, match=r"\(B, 3, H, W\) or \(B, 1, H, W\)"):
            to_images(torch.zeros(shape))


def grey_image(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8))


def as_array(pixel_values: torch.Tensor) -> np.ndarray:
    """(1, C, H, W) -> what the saved picture holds."""
    return np.array(to_images(pixel_values)[0])


def test_grey_pictures_come_through_exactly():
    image = grey_image(32, 32)
    pixel_values = pixels(ImageTokenizerImageProcessorPil(num_channels=1), [image, image])
    assert (pixel_values.shape, pixel_values.dtype) == ((2, 1, 32, 32), torch.float32)
    expected = torch.tensor(np.asarray(image)).double() / 127.5 - 1
    assert (pixel_values[0, 0].double() - expected).abs().max() < 1e-6
    back = to_images(pixel_values)[1]
    assert back.mode == "L"
    assert np.array_equal(np.asarray(back), np.asarray(image))


def test_grey_of_colours_arrays_and_other_sizes():
    processor = ImageTokenizerImageProcessorPil(num_channels=1)
    image = random_image(32, 32)
    assert np.array_equal(as_array(pixels(processor, image)), np.asarray(image.convert("L")))
    assert np.array_equal(as_array(pixels(processor, np.asarray(image))), np.asarray(image.convert("L")))
    wide = grey_image(40, 20)
    resized = wide.resize((32, 32), Image.Resampling.BICUBIC, box=(10, 0, 30, 20))
    assert np.array_equal(as_array(pixels(processor, wide)), np.asarray(resized))


def test_settings_of_grey(tmp_path):
    processor = ImageTokenizerImageProcessorPil(num_channels=1)
    assert processor.image_mean == processor.image_std == (0.5,)
    processor.save_pretrained(tmp_path)
    loaded = ImageTokenizerImageProcessorPil.from_pretrained(tmp_path)
    assert torch.equal(pixels(loaded, random_image(9, 9)), pixels(processor, random_image(9, 9)))
    with pytest.raises(InputError, match=r"num_channels must be 3 \(colour\) or 1 \(grey\), got 2"):
        pixels(ImageTokenizerImageProcessorPil(num_channels=2), random_image(32, 32))
    with pytest.raises(InputError, match="image_mean must have one value per channel, 1"):
        pixels(ImageTokenizerImageProcessorPil(num_channels=1, image_mean=(0.5, 0.5, 0.5)), random_image(32, 32))


def test_28_pixels_are_centred_in_32_with_their_values():
    image = grey_image(28, 28)
    processor = ImageTokenizerImageProcessorPil(do_pad=True, num_channels=1, background=[0, 0, 0])
    padded = as_array(pixels(processor, image))
    assert processor.content_box(28, 28) == Box(2, 2, 28, 28)
    expected = np.zeros((32, 32), np.uint8)
    expected[2:30, 2:30] = np.asarray(image)
    assert np.array_equal(padded, expected)


def test_the_surplus_pixel_is_at_the_bottom_and_at_the_right():
    image = random_image(31, 27)
    processor = ImageTokenizerImageProcessorPil(do_pad=True, background=[10, 20, 30])
    padded = as_array(pixels(processor, image))
    assert processor.content_box(27, 31) == Box(2, 0, 27, 31)
    assert np.array_equal(padded[2:29, :31], np.asarray(image))
    assert (padded[:2] == (10, 20, 30)).all() and (padded[29:] == (10, 20, 30)).all()
    assert (padded[:, 31:] == (10, 20, 30)).all()


def test_larger_pictures_are_shrunk_whole_before_padding():
    image = random_image(64, 16)
    processor = ImageTokenizerImageProcessorPil(do_pad=True)
    box = processor.content_box(16, 64)
    assert box == Box(12, 0, 8, 32)
    padded = as_array(pixels(processor, image))
    assert np.array_equal(padded[12:20], np.asarray(image.resize((32, 8), Image.Resampling.BICUBIC)))
    assert (padded[:12] == 255).all() and (padded[20:] == 255).all()
    assert np.array_equal(as_array(pixels(processor, random_image(32, 32))), np.asarray(random_image(32, 32)))


def test_transparency_and_padding_show_one_background():
    clear = Image.new("RGBA", (20, 20), (0, 0, 0, 0))
    clear.putpixel((0, 0), (255, 0, 0, 255))
    padded = as_array(pixels(ImageTokenizerImageProcessorPil(do_pad=True, background=[1, 2, 3]), clear))
    assert padded[6, 6].tolist() == [255, 0, 0]
    padded[6, 6] = (1, 2, 3)
    assert (padded == (1, 2, 3)).all()
    grey = as_array(
        pixels(ImageTokenizerImageProcessorPil(do_pad=True, num_channels=1, background=[9, 99, 200]), clear)
    )
    ground = Image.new("RGB", (1, 1), (9, 99, 200)).convert("L").getpixel((0, 0))
    assert (np.delete(grey.ravel(), 6 * 32 + 6) == ground).all()


def test_content_boxes_without_padding():
    assert ImageTokenizerImageProcessorPil().content_box(28, 100) == Box(0, 0, 32, 32)
    assert ImageTokenizerImageProcessorPil(do_resize=False).content_box(28, 100) == Box(0, 0, 28, 100)


def test_rounding_never_leads_out_of_the_picture():
    sizes = [(side, side, target) for side in (29, 58, 116, 123, 225, 239) for target in (28, 56, 112, 224)]
    for width, height, target in [*sizes, (500, 333, 300), (333, 500, 300), (6000, 4000, 30)]:
        processor = ImageTokenizerImageProcessorPil(size={"height": target, "width": target})
        image = Image.new("RGB", (width, height), (1, 2, 3))
        assert np.array_equal(as_array(pixels(processor, image)), np.full((target, target, 3), (1, 2, 3)))


def test_padding_needs_a_size():
    with pytest.raises(InputError, match="do_pad=True pads to `size`, but do_resize=False keeps native sizes"):
        pixels(ImageTokenizerImageProcessorPil(do_pad=True, do_resize=False), random_image(8, 8))


def test_padding_is_saved(tmp_path):
    ImageTokenizerImageProcessorPil(do_pad=True, background=[5, 6, 7]).save_pretrained(tmp_path)
    loaded = ImageTokenizerImageProcessorPil.from_pretrained(tmp_path)
    assert as_array(pixels(loaded, random_image(8, 8)))[0, 0].tolist() == [5, 6, 7]
