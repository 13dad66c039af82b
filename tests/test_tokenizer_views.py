import numpy as np
import pytest
from tiny_pictures import picture

from pictogram.hub.errors import InputError
from pictogram.tokenizer.views import ViewSettings, views_of


def arrays(key: str = "a", **settings) -> list[np.ndarray]:
    return [np.asarray(view) for view in views_of(picture(0, (12, 8)), key, ViewSettings(**settings))]


def test_the_first_view_is_the_picture_and_the_second_its_mirror_image():
    plain, mirrored = arrays(flip=True)
    assert np.array_equal(plain, np.asarray(picture(0, (12, 8))))
    assert np.array_equal(mirrored, plain[:, ::-1])
    assert len(arrays()) == 1


def test_crops_are_parts_of_the_picture_of_its_proportions():
    plain, *crops = arrays(num_crops=20, crop_scale=0.25)
    windows = np.lib.stride_tricks.sliding_window_view
    for crop in crops:
        height, width, _ = crop.shape
        assert abs(width - height * 1.5) <= 1
        assert 0.2 <= height * width / 96 <= 1
        assert (windows(plain, crop.shape) == crop).all((-3, -2, -1)).any()
    assert len({crop.shape for crop in crops}) > 2


def test_crops_depend_on_seed_key_and_number_alone():
    first, other_key, other_seed = arrays(num_crops=3), arrays("b", num_crops=3), arrays(num_crops=3, seed=1)
    assert all(map(np.array_equal, first, arrays(num_crops=4)))
    assert not all(map(np.array_equal, first, other_key))
    assert not all(map(np.array_equal, first, other_seed))


def test_a_picture_of_one_pixel_has_crops():
    crops = list(views_of(picture(0, (1, 1)), "a", ViewSettings(flip=True, num_crops=5)))
    assert [crop.size for crop in crops] == [(1, 1)] * 7


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"num_crops": -1}, "num_crops"), ({"crop_scale": 0}, "crop_scale"), ({"crop_scale": 2}, "crop_scale")],
)
def test_impossible_views(settings, message):
    with pytest.raises(InputError, match=message):
        ViewSettings(**settings)
