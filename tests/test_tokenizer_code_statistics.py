import math

import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.code_statistics import (
    entropy,
    held_out_bits,
    held_out_position_bits,
    measure_classes,
    measure_codes,
)


def random_codes(seed: int, size: int, *shape: int) -> torch.Tensor:
    return torch.randint(0, size, shape, generator=torch.Generator().manual_seed(seed))


def test_entropy():
    assert entropy(torch.tensor([1, 1, 1, 1, 0])) == 2
    assert entropy(torch.tensor([5, 0])) == 0
    assert math.copysign(1, entropy(torch.tensor([5, 0]))) == 1
    assert entropy(torch.tensor([[1, 3]])) == pytest.approx(2 - 0.75 * math.log2(3))


def test_figures_by_hand():
    # Two pictures, one level of two codes: position 0 always holds 0, position 1 holds 1 and 2.
    found = measure_codes((torch.tensor([[[0, 1]], [[0, 2]]]),), [4])
    assert found.usage == [3 / 4]
    assert found.static_bits == pytest.approx([2 * 1.5])  # shares 1/2, 1/4, 1/4
    assert found.perplexity == pytest.approx([2**1.5])
    assert found.position_bits == pytest.approx([0 + 1])
    assert (found.codes_per_image, found.bits_per_image_raw) == (2, 4.0)
    assert found.reference_bits is found.reference_position_bits is None


def test_several_levels():
    codes = (random_codes(0, 4, 50, 1, 1), random_codes(1, 8, 50, 3, 2))
    found = measure_codes(codes, [4, 8], codes)
    assert found.codes_per_image == 7
    assert found.bits_per_image_raw == 2 + 18
    for level in range(2):
        assert found.position_bits[level] <= found.static_bits[level] + 1e-9
        assert found.static_bits[level] <= [2, 18][level]
    assert found.position_bits[0] == pytest.approx(found.static_bits[0])  # one position only


def test_held_out_bits_are_those_of_krichevsky_and_trofimov():
    reference, codes = torch.tensor([0, 0, 1]), torch.tensor([[0], [2]])
    # K = 4: p(0) = 2.5 / 5, p(2) = 0.5 / 5
    assert held_out_bits(codes, reference, 4) == pytest.approx((1 + math.log2(10)) / 2)
    assert held_out_bits(codes, torch.tensor([], dtype=torch.int64), 4) == 2  # nothing known: uniform
    columns = torch.tensor([[0, 1], [0, 3]])
    found = held_out_position_bits(columns, columns, 4)
    assert found == pytest.approx(-math.log2(2.5 / 4) - math.log2(1.5 / 4))


def test_other_pictures_cost_more_than_the_set_itself():
    codes, reference = (random_codes(0, 16, 30, 2, 2),), (random_codes(1, 16, 30, 2, 2),)
    found = measure_codes(codes, [16], reference)
    assert found.reference_bits is not None and found.reference_position_bits is not None
    assert found.static_bits[0] < found.reference_bits[0]
    assert found.position_bits[0] < 16 < found.reference_position_bits[0]  # self-histograms flatter: it is uniform
    flat, other = codes[0].flatten(1), reference[0].flatten(1)
    each = [held_out_bits(flat[:, place], other[:, place], 16) for place in range(4)]
    assert found.reference_position_bits[0] == pytest.approx(sum(each))


def test_narrow_integers_give_the_same():
    codes = (random_codes(0, 16, 30, 2, 2),)
    assert measure_codes((codes[0].int(),), [16]) == measure_codes(codes, [16])


def test_other_grids_are_refused():
    with pytest.raises(InputError, match=r"need the grids \[\(2, 2\)\], got \[\(3, 2\)\]"):
        measure_codes((random_codes(0, 4, 5, 2, 2),), [4], (random_codes(0, 4, 5, 3, 2),))


def test_codes_that_are_the_classes():
    labels = random_codes(0, 5, 100)
    found = measure_classes((labels + 2) % 5, labels, 8, 5, reference=((labels + 2) % 5, labels))
    assert found is not None
    assert found.majority_vote == 1
    assert found.nmi == pytest.approx(1)
    assert found.mutual_information == pytest.approx(found.class_entropy)


def test_mutual_information_by_hand():
    # Code 0 holds classes 0, 0, 1; code 1 holds class 1.
    codes, labels = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 0, 1, 1])
    found = measure_classes(codes, labels, 2, 2)
    code_entropy = 2 - 0.75 * math.log2(3)
    joint = -(0.5 * math.log2(0.5) + 2 * 0.25 * math.log2(0.25))
    assert found is not None
    assert found.mutual_information == pytest.approx(code_entropy + 1 - joint)
    assert found.class_entropy == 1
    assert found.nmi == pytest.approx((code_entropy + 1 - joint) / ((code_entropy + 1) / 2))
    assert found.majority_vote is None


def test_votes_are_learned_on_the_reference():
    reference = torch.tensor([0, 0, 0, 1, 1]), torch.tensor([2, 2, 0, 1, 0])  # code 0: class 2; code 1: a tie, class 0
    codes, labels = torch.tensor([0, 0, 1, 1, 3]), torch.tensor([2, 1, 0, 1, 0])  # code 3 is new: class 0, first of all
    found = measure_classes(codes, labels, 4, 3, reference=reference)
    assert found is not None and found.majority_vote == pytest.approx(3 / 5)


def test_pictures_without_label_are_left_out():
    codes, labels = torch.tensor([0, 1, 2]), torch.tensor([0, 1, -1])
    found = measure_classes(codes, labels, 3, 2, reference=(codes, torch.full_like(labels, -1)))
    assert found is not None
    assert (found.num_labelled, found.num_classes, found.majority_vote) == (2, 2, None)
    assert measure_classes(codes, torch.full_like(labels, -1), 3, 2) is None


def test_one_class_and_one_code_agree():
    found = measure_classes(torch.zeros(4).long(), torch.zeros(4).long(), 2, 2)
    assert found is not None
    assert (found.nmi, found.mutual_information) == (1, 0)
