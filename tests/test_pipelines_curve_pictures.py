import numpy as np
import pytest
import torch
from PIL import Image
from tiny_pictures import picture, smooth_folder

from pictogram import InputError
from pictogram.pipelines.curve_pictures import (
    Pictures,
    common_mode,
    load_pictures,
    plain_mode,
    stack,
    tensors,
    to_tensor,
)


def test_grey_pictures_have_one_channel(tmp_path):
    sets = load_pictures(str(smooth_folder(tmp_path / "data")), 30, 10)
    assert sets.train.shape == (30, 8, 8, 1) and sets.test.shape == (10, 8, 8, 1)
    saved = np.asarray(Image.open(tmp_path / "data" / "test" / "00.png"))
    assert sets.test[0, ..., 0].tolist() == saved.tolist()


def test_grey_beside_coloured_ones_get_three_channels():
    sets = Pictures.alike(torch.zeros(2, 4, 4, 1), torch.zeros(2, 4, 4, 3))
    assert sets.train.shape == sets.test.shape == (2, 4, 4, 3)
    grey = picture(0, (4, 4)).convert("L")
    assert stack([grey, picture(1, (4, 4))]).shape == (2, 4, 4, 3)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    folder = smooth_folder(tmp_path / "data")
    (folder / "train" / "05.png").write_text("no picture")
    with pytest.raises(InputError, match=r"train/05\.png of .*data cannot be read as a picture: "):
        load_pictures(str(folder), 30, 10)


def test_sizes_that_differ():
    with pytest.raises(InputError, match=r"one size, got \[4, 4\] in train and \[4, 5\] in test"):
        Pictures.alike(torch.zeros(2, 4, 4, 1), torch.zeros(2, 4, 5, 1))
    images = [picture(0, (4, 6)), picture(1, (5, 6))]
    with pytest.raises(InputError, match=r"one size, got \(height, width\) \[\(6, 4\), \(6, 5\)\]"):
        stack(images)
    assert [tuple(tensor.shape) for tensor in tensors(images, "RGB")] == [(6, 4, 3), (6, 5, 3)]


def test_what_has_no_colours_is_grey():
    grey = picture(0).convert("L")
    assert plain_mode(grey.convert("RGB")).mode == "L" and plain_mode(grey).mode == "L"
    assert plain_mode(picture(0)).mode == "RGB"
    assert to_tensor(grey).shape == (8, 8, 1)


def test_grey_ones_among_coloured_ones_of_other_sizes_have_three_channels():
    images = [picture(0, (4, 6)).convert("L"), picture(1, (5, 6))]
    assert common_mode(images) == "RGB" and common_mode(images[:1]) == "L"
    assert [tensor.shape[-1] for tensor in tensors(images, common_mode(images))] == [3, 3]
    assert tensors(images[:1], "L")[0].shape == (6, 4, 1)


def test_the_mode_is_found_once():
    """60,000 pictures to learn from are usual: looking at all of them for each would take hours."""

    class Counted(Image.Image):
        looks = 0

        @property
        def mode(self):
            Counted.looks += 1
            return "L"

    images = [Image.new("L", (2, 2)) for _ in range(40)]
    for image in images:
        image.__class__ = Counted
    stack(images)
    assert Counted.looks < 40 * 20
