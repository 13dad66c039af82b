import math

import pytest
import torch
from tiny_pictures import smooth_pictures

from pictogram.pipelines.curve_patch_vq import patch_vq_points
from pictogram.pipelines.curve_pictures import Pictures


def test_vq_of_few_distinct_patches_is_lossless():
    kinds = torch.tensor([10, 80, 160, 240], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 4, 4, 1)
    sets = Pictures(kinds.repeat(64, 1, 1, 1), kinds.repeat(8, 1, 1, 1))
    for per_place, symbols in ((True, 4), (False, 4)):
        (point,) = patch_vq_points(sets, (2, 2), 4, [0], per_place=per_place, max_points=2000)
        assert point.psnr == math.inf
        assert point.own_histogram_bytes == pytest.approx(symbols * 2 / 8)  # four codes of 2 bits
        assert point.bytes == pytest.approx(symbols * 2 / 8, abs=0.01)


@pytest.mark.parametrize("per_place", [True, False])
def test_more_codes_more_bytes_more_quality(per_place):
    sets = Pictures(smooth_pictures(400, 12), smooth_pictures(100, 12, seed=1))
    how = {"per_place": per_place, "max_points": 1600}
    points = [patch_vq_points(sets, (4, 4), size, [0], **how)[0] for size in (2, 8, 32)]
    for figure in ("bytes", "psnr", "ssim"):
        values = [getattr(point, figure) for point in points]
        assert values == sorted(values)


def test_bits_with_a_price_are_fewer():
    sets = Pictures(smooth_pictures(400), smooth_pictures(100, seed=1))
    free, dear = patch_vq_points(sets, (4, 4), 16, [0, 2000], per_place=True, max_points=400)
    assert dear.bytes < free.bytes and dear.psnr < free.psnr
