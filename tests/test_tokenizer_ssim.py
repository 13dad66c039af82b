import math

import numpy as np
import pytest
import torch

from pictogram.hub.errors import InputError
from pictogram.tokenizer.ssim import ssim


def slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """One channel, window by window, as the paper writes it."""
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    weights = np.array([[math.exp(-(i**2 + j**2) / (2 * 1.5**2)) for j in range(-5, 6)] for i in range(-5, 6)])
    weights /= weights.sum()
    values = []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            a, b = x[top : top + 11, left : left + 11], y[top : top + 11, left : left + 11]
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            variance_a, variance_b = (weights * (a - mean_a) ** 2).sum(), (weights * (b - mean_b) ** 2).sum()
            covariance = (weights * (a - mean_a) * (b - mean_b)).sum()
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            values.append(luminance * (2 * covariance + c2) / (variance_a + variance_b + c2))
    return float(np.mean(values))


@pytest.mark.parametrize("shape", [(2, 3, 16, 19), (1, 1, 11, 11), (3, 1, 28, 28)])
def test_equals_the_definition(shape):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, shape).astype(np.float64)
    y = np.clip(x + generator.normal(0, 30, shape), 0, 255).round()
    expected = [
        np.mean([slow_ssim(*pair) for pair in zip(*channels, strict=True)]) for channels in zip(x, y, strict=True)
    ]
    found = ssim(torch.tensor(x, dtype=torch.float32), torch.tensor(y, dtype=torch.float32))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_flat_pictures_by_hand():
    x, y = torch.full((1, 3, 20, 20), 100.0), torch.full((1, 3, 20, 20), 120.0)
    c1 = (0.01 * 255) ** 2
    assert float(ssim(x, y)) == pytest.approx((2 * 100 * 120 + c1) / (100**2 + 120**2 + c1), abs=1e-9)


def test_symmetric_and_one_for_equal_pictures():
    x, y = torch.randint(0, 256, (2, 4, 3, 15, 12), generator=torch.Generator().manual_seed(0))
    assert torch.equal(ssim(x, y), ssim(y, x))
    assert ssim(x, x).tolist() == pytest.approx([1.0] * 4, abs=1e-12)
    assert (ssim(x, 255 - x) < 0).all()  # the negative: every window varies the other way


def test_pictures_below_the_window_are_refused():
    with pytest.raises(InputError, match=r"at least 11 x 11 pixels, got \(10, 20\)"):
        ssim(torch.zeros(1, 3, 10, 20), torch.zeros(1, 3, 10, 20))
