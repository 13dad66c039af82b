import math

import pytest
import torch

from pictogram.pipelines.static_code import StaticCode, entropy_bits


def test_static_code_of_a_known_histogram():
    values = torch.tensor([0] * 512 + [1] * 256 + [2] * 256).repeat(64).unsqueeze(1)
    assert entropy_bits(values) == pytest.approx(1.5)
    assert StaticCode(values).bits(values) == pytest.approx(1.5, abs=1e-4)


def test_every_integer_has_a_code_word_and_all_together_at_most_one():
    values = torch.tensor([[3], [4], [4], [6]])
    code = StaticCode(values)
    lengths = torch.tensor([code.bits(torch.tensor([[value]])) for value in range(-2000, 2000)])
    assert bool(lengths.isfinite().all())
    total = float((2.0 ** -lengths.double()).sum())
    assert 0.99 < total <= 1 + 1e-6  # Kraft; the rest is for integers farther away
    with_escape = -math.log2(0.1 / 4.5) + 1  # and the sign, then Elias gamma
    assert lengths[2000 + 7] == pytest.approx(with_escape + 1)
    assert lengths[2000 - 1] == pytest.approx(with_escape + 5)  # 4 below the range


def test_positions_have_histograms_of_their_own():
    values = torch.stack([torch.zeros(1000), torch.full((1000,), 9.0)], 1)
    assert entropy_bits(values) == 0
    assert StaticCode(values).bits(values) < 1e-3
