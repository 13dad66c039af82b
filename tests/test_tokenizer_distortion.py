import json
import math

import pytest
import torch

from pictogram.tokenizer.distortion import Distortion, DistortionMeter, mean_squared_error, psnr
from pictogram.tokenizer.padding import Box
from pictogram.tokenizer.reconstructions import Reconstructions
from pictogram.tokenizer.ssim import ssim


def pictures(seed: int, count: int = 4, side: int = 16) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed)).float()


def batch(original: torch.Tensor, prefixes: list[torch.Tensor | None], box: Box | None = None) -> Reconstructions:
    box = box or Box(0, 0, *original.shape[2:])
    return Reconstructions((), original, prefixes, [box] * len(original))


def measure(*batches: Reconstructions, with_ssim: bool = True) -> Distortion:
    meter = DistortionMeter(with_ssim=with_ssim)
    for part in batches:
        meter.add(part)
    return meter.result()


def test_psnr():
    assert psnr(255**2) == 0
    assert psnr(1.0) == pytest.approx(48.1308, abs=1e-4)
    assert psnr(0.0) == math.inf


def test_figures_by_hand():
    original, coarse, fine = pictures(0), pictures(1), pictures(0) + 1
    found = measure(batch(original, [coarse, fine]))
    errors = mean_squared_error(original, coarse)
    assert found.psnr == pytest.approx([psnr(float(errors.mean())), psnr(1.0)])
    assert found.mean_psnr == pytest.approx([sum(map(psnr, errors.tolist())) / 4, psnr(1.0)])
    assert found.perfect_copies == [0, 0]
    assert found.ssim == pytest.approx([float(ssim(original, values).mean()) for values in (coarse, fine)])


def test_batches_make_no_difference():
    original, decoded = pictures(0, 7), pictures(1, 7)
    whole = measure(batch(original, [decoded]))
    parts = measure(*(batch(original[i : i + 3], [decoded[i : i + 3]]) for i in (0, 3, 6)))
    assert parts.psnr == pytest.approx(whole.psnr, rel=1e-12)
    assert parts.mean_psnr == pytest.approx(whole.mean_psnr, rel=1e-12)
    assert parts.ssim == pytest.approx(whole.ssim, rel=1e-12)


def test_padding_is_not_measured():
    original, decoded = pictures(0), pictures(1)
    box = Box(2, 1, 13, 14)
    expected = measure(batch(box.of(original), [box.of(decoded)]))
    spoiled = decoded.clone()
    spoiled[:, :, :2] = 0
    assert measure(batch(original, [spoiled], box)) == expected
    spoiled[:, :, 2] = 0
    assert measure(batch(original, [spoiled], box)) != expected


def test_perfect_copies_are_counted_and_left_out_of_the_mean():
    original, decoded = pictures(0), pictures(0)
    decoded[0] += 2
    found = measure(batch(original, [decoded, original]))
    assert found.perfect_copies == [3, 4]
    assert found.mean_psnr == [pytest.approx(psnr(4.0)), math.inf]
    assert found.psnr == [pytest.approx(psnr(1.0)), math.inf]
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert (document["psnr"][1], document["mean_psnr"][1]) == (None, None)
    assert document["psnr"][0] == found.psnr[0]


def test_prefixes_that_are_not_decoded():
    found = measure(batch(pictures(0), [None, pictures(1)]), batch(pictures(2), [None, pictures(3)]))
    assert found.psnr[0] is found.mean_psnr[0] is found.perfect_copies[0] is None
    assert found.ssim is not None and found.ssim[0] is None
    assert found.psnr[1] is not None
    assert found.to_dict()["psnr"][0] is None


def test_no_ssim_of_small_pictures():
    assert measure(batch(pictures(0), [pictures(1)]), with_ssim=False).ssim is None
    small = batch(pictures(0), [pictures(1)], Box(0, 0, 10, 16))
    large = batch(pictures(0), [pictures(1)])
    for batches in ((small, large), (large, small)):
        found = measure(*batches)
        assert found.ssim is None
        assert found.psnr[0] is not None
