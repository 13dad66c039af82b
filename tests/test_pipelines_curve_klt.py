import math

import pytest
import torch
from tiny_pictures import smooth_pictures

from pictogram import InputError
from pictogram.pipelines.curve_klt import fit_klt, klt_points
from pictogram.pipelines.curve_pictures import Pictures


def test_klt_of_independent_gaussians_finds_the_axes():
    deviations = torch.tensor([1.0, 4.0, 2.0])
    points = torch.randn(20000, 3, generator=torch.Generator().manual_seed(0)) * deviations + 5
    found = fit_klt(points)
    assert found.basis.abs().round().tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert torch.allclose(found.forward(points).std(0), torch.tensor([4.0, 2.0, 1.0]), rtol=0.02)
    assert torch.allclose(found.inverse(found.forward(points)), points, atol=1e-4)


def test_klt_reaches_the_rate_and_distortion_of_fine_uniform_quantizers():
    """Of Gaussians, h - log2(step) bits at step^2 / 12, in every coefficient (Gish & Pierce 1968)."""
    generator = torch.Generator().manual_seed(0)
    deviations = torch.tensor([10.0, 20.0, 15.0, 12.0])
    draws = deviations * torch.randn(40000, 4, generator=generator)
    rotation = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]]) / 2
    values = (128 + draws @ rotation).clamp(0, 255).round().to(torch.uint8)
    sets = Pictures(*values.view(2, 20000, 2, 2, 1))
    (point,) = klt_points(sets, 2, 2, [8.0])
    bits = float((0.5 * (2 * math.pi * math.e * deviations.square()).log2() - 3).sum())
    assert point.bytes == pytest.approx(bits / 8, rel=0.01)
    assert point.own_histogram_bytes == pytest.approx(point.bytes, rel=0.01)
    error = 8**2 / 12 + 1 / 12  # the last by rounding to 8 bits
    assert point.psnr == pytest.approx(10 * math.log10(255**2 / error), abs=0.05)


def test_klt_refuses_blocks_that_take_hours():
    big = torch.zeros(2, 72, 72, 1, dtype=torch.uint8)
    with pytest.raises(InputError, match="4096 values is feasible, got 5184"):
        list(klt_points(Pictures(big, big), 72, 72, [8.0]))


def test_more_bytes_more_quality():
    sets = Pictures(smooth_pictures(400, 16), smooth_pictures(100, 16, seed=1))
    points = sorted(klt_points(sets, 16, 16, [4, 16, 64]), key=lambda point: point.bytes)
    assert [p.psnr for p in points] == sorted(p.psnr for p in points)
    assert [p.ssim for p in points] == sorted(p.ssim or 0 for p in points)
