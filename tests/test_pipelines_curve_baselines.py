import pytest
import torch
from tiny_pictures import smooth_pictures

from pictogram.pipelines.curve_baselines import LAYOUTS, baselines, quick
from pictogram.pipelines.curve_pictures import Pictures


def sets(size):
    return Pictures(smooth_pictures(60, size), smooth_pictures(20, size, seed=1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_are_measured(layout):
    settings = quick(LAYOUTS[layout])
    jobs = list(baselines(sets(16), settings))
    assert len({job.name for job in jobs}) == len(jobs) == 2
    points = [job.measure() for job in jobs]
    assert [len(group) for group in points] == [len(settings.steps), len(settings.weights)]
    assert [{point.codec for point in group} for group in points] == [{"klt"}, {"patch vq"}]


def test_full_settings_name_every_block_and_codebook():
    names = [job.name for job in baselines(sets(28), LAYOUTS["aligned"])]
    assert names[0] == "klt 28x28"
    assert len({*names}) == len(names) == 8


def test_what_pictures_do_not_allow_is_left_out():
    names = [job.name for job in baselines(sets(10), LAYOUTS["aligned"])]
    assert names == ["klt 10x10", "patch vq 2x2 64", "patch vq 2x2 256"]
    large = Pictures(*torch.zeros(2, 1, 64, 64, 3))
    found = {layout: [job.name for job in baselines(large, LAYOUTS[layout])] for layout in LAYOUTS}
    assert not [name for name in found["aligned"] if name.startswith("klt")]
    assert [name for name in found["crops"] if name.startswith("klt")] == ["klt 8x8", "klt 16x16", "klt 32x32"]
    assert [job.name for job in baselines(sets(28), LAYOUTS["crops"])][:1] == ["patch vq 4x4 64"]
