import io

import numpy as np
import pytest
from PIL import Image

from pictogram.tokenizer.rgb import to_rgb

RED, GREY, WHITE, BLACK = (255, 0, 0), (128, 128, 128), (255, 255, 255), (0, 0, 0)


def reopened(image: Image.Image, file_format: str, **options) -> Image.Image:
    """The picture as it comes back from a file."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return Image.open(io.BytesIO(buffer.getvalue()))


def corners(image: Image.Image) -> tuple:
    assert image.mode == "RGB"
    return image.getpixel((0, 0)), image.getpixel((image.width - 1, image.height - 1))


def left_right(mode: str, left, right) -> Image.Image:
    image = Image.new(mode, (4, 2), left)
    image.paste(right, (2, 0, 4, 2))
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (left_right("RGB", RED, BLACK), (RED, BLACK)),
        (left_right("L", 128, 255), (GREY, WHITE)),
        (left_right("1", 0, 1), (BLACK, WHITE)),
        (left_right("RGB", RED, WHITE).convert("P"), (RED, WHITE)),
        (left_right("CMYK", (0, 255, 255, 0), (0, 0, 0, 255)), (RED, BLACK)),
        (left_right("RGBA", (255, 0, 0, 255), (0, 0, 0, 0)), (RED, WHITE)),
        (left_right("LA", (128, 255), (0, 0)), (GREY, WHITE)),
        (left_right("RGBA", (255, 0, 0, 255), (0, 0, 0, 0)).convert("RGBa"), (RED, WHITE)),
        (left_right("LA", (128, 255), (0, 0)).convert("La"), (GREY, WHITE)),
    ],
    ids=["RGB", "L", "1", "P", "CMYK", "RGBA", "LA", "RGBa", "La"],
)
def test_modes(image, expected):
    assert corners(to_rgb(image)) == expected


def test_half_transparent_pixels_are_mixed_with_the_chosen_background():
    image = Image.new("RGBA", (1, 1), (255, 0, 0, 128))
    assert to_rgb(image).getpixel((0, 0)) == (255, 127, 127)
    assert to_rgb(image, background=(0, 0, 255)).getpixel((0, 0)) == (128, 0, 127)


def test_palette_with_transparent_entry():
    palette = left_right("P", 0, 1)
    palette.putpalette([255, 0, 0, 0, 0, 0])
    image = reopened(palette, "PNG", transparency=1)
    assert image.mode == "P"
    assert corners(to_rgb(image)) == (RED, WHITE)


def test_palette_with_alpha():
    palette = left_right("RGBA", (255, 0, 0, 255), (0, 0, 0, 0)).convert("PA")
    assert palette.mode == "PA"
    assert corners(to_rgb(palette)) == (RED, WHITE)


@pytest.mark.parametrize(("image", "key"), [(left_right("L", 128, 7), 7), (left_right("RGB", GREY, RED), RED)])
def test_transparent_key_colour(image, key):
    assert corners(to_rgb(reopened(image, "PNG", transparency=key))) == (GREY, WHITE)


@pytest.mark.parametrize("clear", [0, 25700, 25701])
def test_transparent_key_value_of_16_bit_grey(clear):
    image = reopened(Image.fromarray(np.array([[0, 25700, 65535]], dtype=np.uint16)), "PNG", transparency=clear)
    assert image.info["transparency"] == clear
    shown = [RED if value == clear else (grey,) * 3 for value, grey in ((0, 0), (25700, 100), (65535, 255))]
    assert np.asarray(to_rgb(image, background=RED))[0].tolist() == [list(colour) for colour in shown]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
def test_16_bit_grey_is_scaled_not_clipped(mode):
    values = np.array([[0, 257 * 100, 65535]], dtype=np.int32 if mode == "I" else np.uint16)
    if mode == "I":
        image = Image.fromarray(values)
    else:
        order = ">u2" if mode == "I;16B" else "<u2"
        image = Image.frombytes(mode, (3, 1), values.astype(order).tobytes())
    assert image.mode == mode
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == [0, 100, 255]


def test_16_bit_grey_files():
    image = Image.fromarray(np.array([[0, 25700, 65535]], dtype=np.uint16))
    for file_format in ("PNG", "TIFF"):
        assert np.asarray(to_rgb(reopened(image, file_format)))[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-5.0, 25700.0, 65535.0], [0, 100, 255]),
        ([0.0, 1e6, 2e6], [0, 128, 255]),
        ([float("nan"), 0.0, 1.0], [0, 0, 255]),
    ],
)
def test_float_grey(values, expected):
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert image.mode == "F"
    assert np.asarray(to_rgb(image))[0, :, 0].tolist() == expected


def test_32_bit_grey():
    image = Image.fromarray(np.array([[0, 2**31 - 1]], dtype=np.int32))
    assert corners(to_rgb(image)) == (BLACK, WHITE)


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG"])
def test_first_frame_of_an_animation(file_format):
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, BLACK, WHITE)]
    image = reopened(frames[0], file_format, save_all=True, append_images=frames[1:], lossless=True)
    image.seek(1)
    assert corners(to_rgb(image)) == (RED, RED)


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    image = reopened(left_right("RGB", RED, BLACK), "PNG", exif=exif)
    turned = to_rgb(image)
    assert turned.size == (2, 4)
    assert corners(turned) == (RED, BLACK)


def test_damaged_exif_keeps_the_picture():
    image = left_right("RGB", RED, BLACK)
    image.info["exif"] = b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"
    assert corners(to_rgb(image)) == (RED, BLACK)


def test_the_result_is_a_new_picture():
    image = Image.new("RGB", (2, 2), RED)
    to_rgb(image).putpixel((0, 0), BLACK)
    assert image.getpixel((0, 0)) == RED


def test_pictures_whose_frames_count_from_one():
    class Layered(Image.Image):  # as Pillow's own class of PSD files behaves
        is_animated = True

        def seek(self, frame):
            if frame < 1:
                raise EOFError("attempt to seek outside sequence")

    layered = Layered()
    layered.__dict__ |= Image.new("RGB", (2, 2), RED).__dict__
    assert to_rgb(layered).getpixel((1, 1)) == RED
