from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_bundles import DEEP, bundle_around
from tiny_chain import shared_bundle
from tiny_pictures import damaged_folder, picture

from pictogram.hub.errors import InputError
from pictogram.pipelines import picture_input
from pictogram.pipelines.picture_input import encode_pictures, open_picture, open_pictures
from pictogram.tokenizer.rgb import WHITE


def test_one_picture_or_several(tmp_path):
    picture(1).save(tmp_path / "a.png")
    one = open_pictures(str(tmp_path / "a.png"), WHITE)
    for given in (tmp_path / "a.png", [tmp_path / "a.png"], picture(1), (picture(1),)):
        assert [np.array(opened).tolist() for opened in open_pictures(given, WHITE)] == [np.array(one[0]).tolist()]
    with pytest.raises(InputError, match="at least one picture is expected, got none"):
        open_pictures([], WHITE)


def test_transparency_shows_the_background():
    see_through = Image.new("RGBA", (2, 1), (9, 9, 9, 0))
    assert open_picture(see_through, (1, 2, 3)).getpixel((0, 0)) == (1, 2, 3)


def test_files_that_cannot_be_read_are_named(tmp_path):
    folder = Path(damaged_folder(tmp_path))
    for name in ("b_truncated.png", "c_empty.png", "d_page.jpg", "f_truncated.jpg", "nowhere.png", ""):
        with pytest.raises(InputError, match=f"{name} cannot be read as a picture: "):
            open_picture(folder / name, WHITE)


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (0, 0)])
def test_pictures_without_pixels_are_refused(size):
    with pytest.raises(InputError, match=f"it has {size[0]}x{size[1]} pixels, at least 1x1 are expected"):
        open_picture(Image.new("RGB", size), WHITE)


def test_codes_are_those_of_the_tokenizer_however_many_at_once(monkeypatch):
    bundle = bundle_around(DEEP)
    pictures = [picture(seed, (16, 16)) for seed in range(5)]
    encoded = encode_pictures(bundle, pictures)
    assert encoded.size == "2x2" and encoded.pixel_values.shape == (5, 3, 16, 16)
    monkeypatch.setattr(picture_input, "_AT_ONCE", 2)
    again = encode_pictures(bundle, pictures)
    expected = bundle.image_tokenizer.encode(encoded.pixel_values)
    for level, other, reference in zip(encoded.codes, again.codes, expected, strict=True):
        assert torch.equal(level, reference) and torch.equal(other, reference)


def test_sizes_that_the_vocabulary_does_not_know_are_refused():
    native = bundle_around(DEEP, sizes=((16, 24),), do_resize=False)
    assert encode_pictures(native, [picture(0, (24, 16))]).size == "2x3"
    with pytest.raises(InputError, match="are not in the vocabulary, which knows 2x3"):
        encode_pictures(native, [picture(0, (16, 16))])
    with pytest.raises(InputError, match="pictures of different sizes cannot form one batch"):
        encode_pictures(native, [picture(0, (24, 16)), picture(0, (16, 16))])
    with pytest.raises(InputError, match="multiples of 8"):
        encode_pictures(native, [picture(0, (15, 16))])


def test_pictures_of_any_size_are_resized():
    assert encode_pictures(shared_bundle(), [picture(0, (9, 40)), picture(1)]).codes[1].shape == (2, 2, 2)
