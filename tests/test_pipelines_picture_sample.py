import pytest
from PIL import Image
from tiny_chain import NUM_PICTURES, pictures, processor

from pictogram.hub.errors import InputError
from pictogram.pipelines.picture_sample import picture_sample


def test_all_pictures_or_some_in_the_splits_order():
    whole = picture_sample(str(pictures()), "train", processor())
    some = picture_sample(str(pictures()), "train", processor(), 5, seed=1)
    again = picture_sample(str(pictures()), "train", processor(), 5, seed=1)
    other = picture_sample(str(pictures()), "train", processor(), 5, seed=2)
    keys = [sample.dataset.source.keys for sample in (whole, some, again, other)]
    assert [len(each) for each in keys] == [NUM_PICTURES, 5, 5, 5]
    assert keys[1] == keys[2] != keys[3] and list(keys[1]) == sorted(keys[1])
    assert (whole.split, whole.listed) == ("train", [])


def test_unreadable_pictures_are_listed(tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no picture")
    sample = picture_sample(str(tmp_path), "train", processor())
    assert len(sample.dataset) == 1
    assert sample.listed == ["bad.png (not a picture PIL can read)"]


def test_a_split_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no split 'other'"):
        picture_sample(str(pictures()), "other", processor())
