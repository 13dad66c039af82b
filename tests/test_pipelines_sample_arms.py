"""Sets of pictures with classes."""

import torch

from pictogram.pipelines.sample_arms import PictureArm, balanced_rows


def test_rows_of_each_class_alike():
    classes = torch.tensor([0] * 9 + [1] * 2 + [2] * 9)
    rows = balanced_rows(classes, 10, 3, seed=0)
    assert rows == sorted(rows)
    assert torch.bincount(classes[rows]).tolist() == [4, 2, 3]
    assert balanced_rows(classes, 10, 3, seed=0) == rows != balanced_rows(classes, 10, 3, seed=1)


def test_an_arm_is_known_by_every_pixel_and_class():
    pixels, classes = torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 1, 0, 1])
    first = PictureArm(pixels, classes).fingerprint
    assert PictureArm(pixels.clone(), classes.clone()).fingerprint == first
    changed = pixels.clone()
    changed[3, 0, 1, 1] = 1
    assert len({first, PictureArm(changed, classes).fingerprint, PictureArm(pixels, classes.flip(0)).fingerprint}) == 3
