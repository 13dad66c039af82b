import pytest
import torch
from tiny_pictures import smooth_pictures

from pictogram.pipelines.curve_quality import picture_quality


def test_the_error_is_that_of_8_bit_values():
    original = torch.tensor([0, 255, 7, 9], dtype=torch.uint8).view(1, 2, 2, 1)
    found = picture_quality(original, torch.tensor([-9.0, 300.0, 9.4, 9.2]).view(1, 2, 2, 1))
    assert found.psnr == pytest.approx(48.1308, abs=1e-4)  # a mean squared error of 1
    assert found.ssim is None


def test_one_tensor_or_one_by_one_is_the_same():
    originals = smooth_pictures(300, size=12, channels=3)
    decoded = originals.float() + torch.randn(originals.shape, generator=torch.Generator().manual_seed(0)) * 9
    together, apart = picture_quality(originals, decoded), picture_quality(list(originals), list(decoded))
    assert together.psnr == pytest.approx(apart.psnr, rel=1e-12)
    assert together.ssim == pytest.approx(apart.ssim, rel=1e-9)


def test_every_picture_counts_once_whatever_its_size():
    originals = [torch.zeros(size, size, 1) for size in (20, 11)]
    decoded = [original + offset for original, offset in zip(originals, (1, 3), strict=True)]
    found = picture_quality(originals, decoded)
    assert found.psnr == pytest.approx(10 * torch.tensor(255**2 / 5).log10().item())
    assert found.squared_error == pytest.approx((20 * 20 * 1 + 11 * 11 * 9) / 2)


def test_all_originals_are_compared():
    with pytest.raises(ValueError, match="zip"):
        picture_quality(list(torch.zeros(2, 4, 4, 1)), list(torch.zeros(1, 4, 4, 1)))
