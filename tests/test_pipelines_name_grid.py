"""Samples of names in rows, by group, and the mistaken ones."""

import torch

from pictogram.pipelines.name_accuracy import NamedSamples
from pictogram.pipelines.name_grid import accuracy_by_group, grouped, mistaken, sample_grid
from pictogram.tokenizer.images import ClassLabels


def samples() -> NamedSamples:
    """Four samples of the training pictures 5, 0, 2 and 3, the second and the last mistaken."""
    return NamedSamples(
        rows=[5, 0, 2, 3],
        captions=["owl", "cat", "red car", "bus"],
        pixels=torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8) * 60,
        nearest=[["owl"], ["dog", "hound"], ["car", "red car"], [""]],
    )


def labels() -> ClassLabels:
    return ClassLabels("kind", ("plants", "animals", "things"), torch.tensor([1, 1, 2, -1, 2, 1]))


def test_groups_keep_the_order_and_leave_out_what_has_no_label():
    groups = grouped(samples(), labels())
    assert groups == {"animals": [0, 1], "things": [2]}
    assert accuracy_by_group(samples(), groups) == {
        "animals": {"name_accuracy": 0.5, "num_captions": 2},
        "things": {"name_accuracy": 1.0, "num_captions": 1},
    }


def test_the_mistaken_are_listed_with_what_they_are_like():
    assert mistaken(samples()) == [{"caption": "cat", "nearest": "dog"}, {"caption": "bus", "nearest": ""}]


def test_a_grid_has_a_row_for_each_group():
    one, several = sample_grid(samples()), sample_grid(samples(), grouped(samples(), labels()))
    assert one.width > several.width and several.height > one.height
    grey = [several.getpixel((6 + 35 + column * 70, 6 + 35)) for column in range(2)]
    assert grey == [(0, 0, 0), (60, 60, 60)]
