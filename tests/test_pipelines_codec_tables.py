import pytest

from pictogram.pipelines.codec_points import CodecPoint
from pictogram.pipelines.codec_tables import (
    cost_table,
    costs,
    equal_quality_table,
    even_decibels,
    markdown,
    rate_differences,
)
from pictogram.pipelines.curve_points import Point


def made(model, size, error, *, levels=2, weight=0.0):
    return CodecPoint(
        "ours", "", size, 20.0, model=model, num_levels=levels, rate_weight=weight, is_static=False,
        model_bytes=size, payload_bytes=size, squared_error=error,
    )  # fmt: skip


def test_costs_of_models_as_trained_and_at_best():
    points = [
        made("a", 10, 1000.0), made("a", 8, 1100.0, weight=5), made("a", 1, 3000.0, levels=1),
        made("b", 5, 1500.0),
    ]  # fmt: skip
    found = costs(points, [1, 100])
    assert found["a"] == {"1": {"trained": 1080, "best": 1080}, "100": {"trained": 9000, "best": 3800}}
    assert found["b"]["100"] == {"trained": 5500, "best": 5500}
    assert costs(points, []) == {}
    lines = cost_table(found).splitlines()
    assert lines[0].split() == ["|", "model", "|", "weight", "1", "|", "weight", "100", "|"]
    assert lines[2].split() == ["|", "a", "|", "1080", "/", "1080", "|", "9000", "/", "3800", "|"]
    assert cost_table({}) == ""


@pytest.mark.parametrize(
    ("reached", "wanted"),
    [((19.5, 22.4), [20, 21, 22]), ((10, 40), [10, 14, 18, 22, 26, 30, 34, 38]), ((20.1, 20.9), [])],
)
def test_whole_decibels(reached, wanted):
    assert even_decibels([Point("a", "", 10 * place + 1, psnr) for place, psnr in enumerate(reached)]) == wanted


def test_single_files_are_compared_with_single_files():
    def curve(factor):
        return [Point("", "", factor * 10, 20.0), Point("", "", factor * 20, 25.0)]

    curves = {"ours": curve(1), "ours file": curve(3), "x sheet": curve(2), "x file": curve(4), "far": [curve(1)[0]]}
    found = rate_differences(curves, "ours")
    assert found == {"x sheet": pytest.approx(-0.5), "x file": pytest.approx(-0.25)}


def test_a_quality_that_is_not_reached():
    table = equal_quality_table({"a": {"20": 1.234, "22": None}})
    assert table.splitlines()[-1].split() == ["|", "a", "|", "1.23", "|", "-", "|"]
    assert markdown(["a"], [["longer"]]).splitlines()[0] == "| a      |"
