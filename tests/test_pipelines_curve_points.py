import math

import pytest

from pictogram.pipelines.curve_points import Point, bjontegaard_rate, by_codec, bytes_at, frontier, psnr_at


def point(size, error, codec="a"):
    return Point(codec, "", size, 10 * math.log10(255**2 / error) if error else math.inf)


def test_the_frontier_rises():
    points = [Point("a", "", *values) for values in ((40, 26.0), (10, 20.0), (50, 25.0), (10, 19.0))]
    assert [(p.bytes, p.psnr) for p in frontier(points)] == [(10, 20.0), (40, 26.0)]


def test_a_frontier_leaves_out_what_a_mixture_of_two_settings_beats():
    points = [point(*values) for values in ((10, 300.0), (20, 290.0), (30, 100.0), (40, 90.0))]
    assert [point.bytes for point in frontier(points)] == [10, 30, 40]
    perfect = point(50, 0)
    assert frontier([*points, perfect])[-1] is perfect


def test_between_two_settings_pictures_are_shared():
    curve = [point(10, 300.0), point(30, 100.0)]
    middle = 10 * math.log10(255**2 / 200)
    assert psnr_at(curve, 20) == pytest.approx(middle)
    assert bytes_at(curve, middle) == pytest.approx(20)
    assert psnr_at(curve, 10) == pytest.approx(curve[0].psnr) and bytes_at(curve, curve[1].psnr) == 30
    assert psnr_at(curve, 9.9) is None and psnr_at(curve, 30.1) is None
    assert bytes_at(curve, curve[0].psnr - 0.1) is None and bytes_at([], 20) is None


def test_a_perfect_copy_ends_a_curve():
    curve = [point(10, 300.0), point(30, 0)]
    assert bytes_at(curve, 10 * math.log10(255**2 / 150)) == pytest.approx(20)


def test_rate_differences_are_those_of_proportional_curves():
    curve = [point(size, 3000 / size) for size in (5, 10, 20, 40)]
    other = [point(1.25 * size, 3000 / size) for size in (10, 20, 40, 80)]
    assert bjontegaard_rate(curve, other) == pytest.approx(-0.2)
    assert bjontegaard_rate(other, curve) == pytest.approx(0.25)
    assert bjontegaard_rate(curve, curve) == 0


def test_curves_that_share_no_quality_cannot_be_compared():
    assert bjontegaard_rate([point(10, 300.0), point(20, 200.0)], [point(10, 100.0), point(20, 50.0)]) is None
    assert bjontegaard_rate([point(10, 300.0)], []) is None


def test_codecs_stay_in_their_order():
    points = [point(10, 300, "b"), point(20, 400, "a"), point(20, 200, "b"), point(30, 500, "b")]
    assert {name: [p.bytes for p in curve] for name, curve in by_codec(points).items()} == {"b": [10, 20], "a": [20]}
    assert list(by_codec(points)) == ["b", "a"]
