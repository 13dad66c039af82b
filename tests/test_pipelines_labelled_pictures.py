import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage
from tiny_chain import pictures, processor
from tiny_pictures import noise_in_two_classes

from pictogram.hub.errors import InputError
from pictogram.pipelines.labelled_pictures import (
    check_other_pictures,
    flat_pixels,
    labelled_pictures,
    with_same_classes,
)


def test_every_picture_has_its_class(tmp_path):
    found = labelled_pictures(str(noise_in_two_classes(tmp_path)), "test", processor())
    assert found.labels.names == ("bright", "dark") and found.classes.tolist() == [0] * 30 + [1] * 30
    assert found.failures == ["test/dark/bad.png (not a picture PIL can read)"]
    pixels = flat_pixels(found.dataset)
    assert pixels.shape == (60, 3 * 16 * 16)
    assert (pixels.mean(1)[:30] > pixels.mean(1)[30:].max()).all()


def test_pictures_without_a_label_are_left_out(tmp_path):
    features = Features({"image": Image(), "label": ClassLabel(names=["a", "b"])})
    shades = [PILImage.new("RGB", (16, 16), (shade, shade, shade)) for shade in (0, 100, 200)]
    Dataset.from_dict({"image": shades, "label": [1, None, 0]}, features=features).to_parquet(tmp_path / "test.parquet")
    found = labelled_pictures(str(tmp_path), "test", processor())
    assert found.classes.tolist() == [1, 0] and len(found.dataset) == 2
    torch.testing.assert_close(flat_pixels(found.dataset)[1].mean(), torch.tensor(200 / 127.5 - 1))


def test_texts_are_classes_and_two_splits_number_them_alike(tmp_path):
    features = Features({"image": Image(), "name": Value("string"), "size": Value("int32")})
    for split, names in (("train", ["dog", "cat", "dog", None]), ("test", ["owl", "dog"])):
        shades = [PILImage.new("RGB", (16, 16)) for _ in names]
        columns = {"image": shades, "name": names, "size": [1] * len(names)}
        Dataset.from_dict(columns, features=features).to_parquet(tmp_path / f"{split}.parquet")
    first, second = (labelled_pictures(str(tmp_path), split, processor(), column="name") for split in ("train", "test"))
    assert (first.labels.names, first.classes.tolist()) == (("cat", "dog"), [1, 0, 1])
    first, second = with_same_classes(first, second)
    assert first.labels.names == second.labels.names == ("cat", "dog", "owl")
    assert first.classes.tolist() == [1, 0, 1] and second.classes.tolist() == [2, 1]
    with pytest.raises(InputError, match="has no column 'kind'; its columns: image, name, size"):
        labelled_pictures(str(tmp_path), "train", processor(), column="kind")
    with pytest.raises(InputError, match="classes must be class labels or texts; 'size' holds"):
        labelled_pictures(str(tmp_path), "train", processor(), column="size")


def test_what_is_measured_is_not_what_was_learned_from(tmp_path):
    check_other_pictures("folder", "test", "train")
    with pytest.raises(InputError, match="must differ, got split train for both"):
        check_other_pictures("folder", "train", "train")
    Dataset.from_dict({"n": [1]}).to_parquet(tmp_path / "all.parquet")
    with pytest.raises(InputError, match="is one file, which is one split; give a folder that has train and test"):
        check_other_pictures(str(tmp_path / "all.parquet"), "test", "train")


def test_no_labels_and_other_classes(tmp_path):
    with pytest.raises(InputError, match="has no class labels to compare codes with"):
        labelled_pictures(str(pictures()), "train", processor())
    one = labelled_pictures(str(noise_in_two_classes(tmp_path)), "test", processor())
    (tmp_path / "other" / "test" / "grey").mkdir(parents=True)
    (tmp_path / "other" / "test" / "bright").mkdir()
    for name in ("grey", "bright"):
        PILImage.new("RGB", (16, 16)).save(tmp_path / "other" / "test" / name / "a.png")
    other = labelled_pictures(str(tmp_path / "other"), "test", processor())
    with pytest.raises(InputError, match="both splits must have the same classes, got 2 and 2 names that differ"):
        with_same_classes(one, other)
