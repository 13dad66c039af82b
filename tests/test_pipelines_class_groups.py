"""Classes by their numbers, and pictures of them."""

import pytest
import torch
from tiny_adaptation import new_folder, processor

from pictogram.hub.errors import InputError
from pictogram.pipelines.class_groups import ClassSelection, parse_classes
from pictogram.pipelines.labelled_pictures import labelled_pictures


def test_groups_of_classes():
    assert parse_classes("tasks", "0-1, 2-3,4+7+9") == [[0, 1], [2, 3], [4, 7, 9]]
    assert parse_classes("tasks", "5") == [[5]] and parse_classes("tasks", "") == []


@pytest.mark.parametrize("text", ["a", "3-1", "-1", "1-", "0,,1", "0-x"])
def test_what_is_no_class_is_refused(text):
    with pytest.raises(InputError, match='tasks must be numbers of classes such as "0-4"'):
        parse_classes("tasks", text)


def test_a_class_has_one_group():
    with pytest.raises(InputError, match="name each class once"):
        parse_classes("tasks", "0-2,2-3")


def test_pictures_of_classes():
    pictures = labelled_pictures(str(new_folder()), "train", processor())
    selection = ClassSelection(pictures, processor())
    dark = selection.of([1])
    assert len(dark) == 12 and len(selection.of([0, 1])) == 24
    rows = (pictures.classes == 1).nonzero().squeeze(1)
    assert torch.equal(dark.pixels([0, 11]), pictures.dataset.pixels(rows[[0, 11]].tolist()))
    with pytest.raises(InputError, match="there are the classes 0 to 1, got 2"):
        selection.of([0, 2])
