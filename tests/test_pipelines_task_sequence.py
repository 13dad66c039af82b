"""Tasks one after the other."""

import pytest
import torch
from tiny_adaptation import asked, new_folder, processor, trained

from pictogram.pipelines.class_groups import ClassSelection
from pictogram.pipelines.labelled_pictures import labelled_pictures
from pictogram.pipelines.task_sequence import TaskSequence, task_sequence


def test_transfer_is_what_the_matrix_says():
    matrix = [[20.0, 10.0, 11.0], [19.0, 18.0, 13.0], [17.0, 18.5, 19.0]]
    sequence = TaskSequence("full", 0, 1e-3, [[0], [1], [2]], matrix, [4], [1, 1])
    assert sequence.transfers() == {
        "backward_transfer": pytest.approx((17 - 20 + 18.5 - 18) / 2),
        "forward_transfer": pytest.approx(13 - 11),
        "final": pytest.approx((17 + 18.5 + 19) / 3),
    }
    two = TaskSequence("full", 0, 1e-3, [[0], [1]], [[20.0, 10.0], [19.0, 18.0]], [4], [1])
    assert two.transfers()["forward_transfer"] is None


def test_every_task_is_measured_after_each():
    learned, measured = (
        ClassSelection(labelled_pictures(str(new_folder()), split, processor()), processor())
        for split in ("train", "test")
    )
    model = trained()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sequence = task_sequence(model, processor(), [[0], [1]], learned, measured, asked(mode="grow"))
    assert [len(row) for row in sequence.psnr] == [2, 2] and sequence.mode == "grow"
    assert sequence.codebook_sizes[0] > 5 and len(sequence.numbers_trained) == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
