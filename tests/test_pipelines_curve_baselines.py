import pytest
from tiny_pictures import smooth_pictures

from pictogram import InputError
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


def test_patches_that_do_not_tile():
    with pytest.raises(InputError, match=r"no patch of .* tiles pictures of 10x10"):
        list(baselines(sets(10), quick(LAYOUTS["aligned"])))
