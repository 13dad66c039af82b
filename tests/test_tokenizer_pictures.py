import numpy as np
import pytest
import torch
from PIL import Image

from pictogram.tokenizer.adapter import AdaptedTokenizer
from pictogram.tokenizer.adapter_config import AdaptedTokenizerConfig
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.image_processor import to_images
from pictogram.tokenizer.model import ImageTokenizer
from pictogram.tokenizer.pictures import picture_grid, reconstruction_grid, save_picture

WHITE = (255, 255, 255)


def random_picture(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def ink_below(sheet: Image.Image, top: int) -> bool:
    return (np.asarray(sheet)[top:] != 255).any()


def test_pictures_lie_in_their_cells_scaled_by_whole_pixels():
    rows = [[random_picture(16, 16, 3 * r + c) for c in range(3)] for r in range(2)]
    sheet = picture_grid(rows, cell=40)
    assert sheet.size == (3 * 46 + 6, 2 * 46 + 6)
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            x, y = 6 + 46 * c, 6 + 46 * r
            shown = sheet.crop((x, y, x + 32, y + 32))
            assert np.array_equal(np.asarray(shown), np.kron(np.asarray(picture), np.ones((2, 2, 1), np.uint8)))
    assert sheet.getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("size", [(100, 50), (50, 100), (1, 300), (7, 7), (40, 40)])
def test_pictures_of_any_size_and_mode_fit(size):
    for mode in ("RGB", "L", "P"):
        sheet = picture_grid([[random_picture(*size).convert(mode)]], cell=40)
        assert sheet.size == (52, 52)
        pixels = np.asarray(sheet)
        assert (pixels[46:] == 255).all()
        assert (pixels[:, 46:] == 255).all()
        assert (pixels[6:46, 6:46] != 255).any()


def test_titles_and_header():
    picture = Image.new("RGB", (40, 40), "white")
    plain = picture_grid([[picture, picture]], cell=40)
    titled = picture_grid([[picture, picture]], titles=[["red apple", ""]], cell=40)
    assert titled.height == plain.height + 28
    assert not ink_below(plain, 0)
    assert ink_below(titled, 46)
    assert not (np.asarray(titled)[:, 52:] != 255).any()  # the second has no title
    last = picture_grid([[picture, picture]] * 2, titles=[None, ["red apple", ""]], cell=40)
    assert last.height == titled.height + 46
    assert np.array_equal(np.asarray(last)[46:], np.asarray(titled))  # the row above takes no room for words
    headed = picture_grid([[picture, picture]], header=["a", "b"], cell=40)
    assert headed.height == plain.height + 20
    assert (np.asarray(headed)[:20] != 255).any()


@pytest.mark.parametrize("title", ["w" * 200, "several words " * 20, "\u7b11\u8138 \U0001f600", "a  b\n c", "\u2026"])
def test_titles_never_leave_their_cell(title):
    picture = Image.new("RGB", (60, 60), "white")
    sheet = np.asarray(picture_grid([[picture, picture]], titles=[[title, ""]], cell=60))
    assert (sheet[:, 6 + 60 + 3 :] == 255).all()


def test_rows_of_unequal_length():
    picture = random_picture(8, 8)
    assert picture_grid([[picture] * 3, [picture]], cell=8).size == (3 * 14 + 6, 2 * 14 + 6)


def test_reconstructions_show_the_original_beside_every_prefix():
    torch.manual_seed(0)
    config = ImageTokenizerConfig(image_size=16, strides=["image", 8], codebook_sizes=[4, 5], hidden_size=8)
    model = ImageTokenizer(config).eval()
    pixel_values = torch.rand(2, 3, 16, 16) * 2 - 1
    sheet = reconstruction_grid(model, pixel_values, cell=16)
    assert sheet.size == (3 * 22 + 6, 20 + 2 * 22 + 6)
    codes = model.encode(pixel_values)
    columns = [pixel_values, model.decode(codes, 1), model.decode(codes, 2)]
    for column, values in enumerate(columns):
        for row, picture in enumerate(to_images(values)):
            x, y = 6 + 22 * column, 20 + 6 + 22 * row
            assert np.array_equal(np.asarray(sheet.crop((x, y, x + 16, y + 16))), np.asarray(picture))


def test_prefixes_that_a_tokenizer_does_not_decode_have_no_column():
    settings = {
        "embed_dim": 4, "num_embeddings": 8, "latent_channels": 4, "resolution": 16, "base_channels": 32,
        "channel_multiplier": [1, 1], "num_res_blocks": 1,
    }  # fmt: skip
    model = AdaptedTokenizer(AdaptedTokenizerConfig(layout="chameleon", settings=settings))
    assert reconstruction_grid(model, torch.zeros(2, 3, 16, 16), cell=16).size == (22 + 6, 20 + 2 * 22 + 6)


def test_grey_reconstructions():
    config = ImageTokenizerConfig(
        num_channels=1, image_size=16, strides=["image", 8], codebook_sizes=[4, 5], hidden_size=8
    )
    pixel_values = torch.rand(1, 1, 16, 16) * 2 - 1
    sheet = reconstruction_grid(ImageTokenizer(config).eval(), pixel_values, cell=16)
    shown = np.asarray(sheet.crop((6, 26, 22, 42)))
    assert np.array_equal(shown, np.asarray(to_images(pixel_values)[0].convert("RGB")))


def test_equal_pictures_make_equal_files(tmp_path):
    for name in ("a.png", "new/b.png"):
        save_picture(random_picture(20, 10), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "new" / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert np.array_equal(np.asarray(image), np.asarray(random_picture(20, 10)))
