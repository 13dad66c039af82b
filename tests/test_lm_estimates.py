import math

import pytest
import torch

from pictogram.lm.estimates import Estimate, Z, estimate, share


def test_a_mean_with_the_textbook_interval():
    values = torch.tensor([1.0, 2.0, 4.0, 9.0])
    found = estimate(values)
    error = float(values.double().std()) / 2
    assert (found.value, found.num_images) == (4.0, 4)
    assert found.standard_error == pytest.approx(error)
    assert found.interval == pytest.approx((4 - Z * error, 4 + Z * error))
    assert found.to_dict() == {"value": 4.0, "interval": list(found.interval or ()), "num_images": 4}


def test_a_constant_scales_value_and_interval():
    values = torch.tensor([1.0, 2.0, 4.0, 9.0])
    whole, part = estimate(values), estimate(values, 8)
    assert whole.value is not None and whole.standard_error is not None
    assert (part.value, part.standard_error) == pytest.approx((whole.value / 8, whole.standard_error / 8))


def test_a_ratio_by_the_delta_method():
    bits, size = torch.tensor([10.0, 30.0, 21.0], dtype=torch.float64), torch.tensor([1.0, 3.0, 2.0])
    found = estimate(bits, size)
    assert found.value == pytest.approx(61 / 6)
    rest = [10 - 61 / 6, 30 - 61 / 2, 21 - 61 / 3]
    assert found.standard_error == pytest.approx(math.sqrt(sum(r * r for r in rest) / 2) / 2 / math.sqrt(3))
    assert estimate(size * 3, size).standard_error == pytest.approx(0, abs=1e-12)  # nothing varies but the length


def test_the_interval_of_a_ratio_covers_the_truth():
    generator = torch.Generator().manual_seed(0)
    covered = 0
    for _ in range(1000):
        size = torch.randint(1, 20, (100,), generator=generator).double()
        bits = 2.5 * size + size.sqrt() * torch.randn(100, generator=generator, dtype=torch.float64)
        low, high = estimate(bits, size).interval or (0, 0)
        covered += low < 2.5 < high
    assert 925 <= covered <= 970


def test_missing_pictures_do_not_count():
    values = torch.tensor([1.0, math.nan, 3.0, math.nan])
    assert estimate(values) == estimate(torch.tensor([1.0, 3.0]))
    assert estimate(values, torch.tensor([1.0, math.nan, 2.0, 7.0])).value == pytest.approx(4 / 3)
    assert estimate(values[1:2]) == Estimate(None, None, 0)
    assert Estimate(None, None, 0).to_dict() == {"value": None, "interval": None, "num_images": 0}


def test_one_picture_has_no_interval():
    assert estimate(torch.tensor([3.0])) == Estimate(3.0, None, 1)
    assert Estimate(3.0, None, 1).interval is None


def test_an_unpaired_difference():
    difference = Estimate(5.0, 3.0, 10).minus(Estimate(7.0, 4.0, 8))
    assert difference == Estimate(-2.0, 5.0, 8)
    assert Estimate(5.0, 3.0, 10).minus(Estimate(None, None, 0)) == Estimate(None, None, 0)
    assert Estimate(5.0, 3.0, 10).minus(Estimate(4.0, None, 1)) == Estimate(1.0, None, 1)


def test_shares_with_the_interval_of_wilson():
    found = share(8, 10)  # Newcombe 1998 and any table: 0.4902 to 0.9433
    assert found.value == 0.8
    assert found.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert share(10, 10).interval == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert share(0, 3).interval[0] == 0 and share(3, 3).interval[1] == 1
    assert share(8, 10).to_dict() == {"value": 0.8, "interval": list(found.interval), "num_images": 10}
