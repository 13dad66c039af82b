import math

import pytest

from pictogram import InputError
from pictogram.pipelines.curve_points import Point
from pictogram.pipelines.curve_store import PointStore


def test_points_are_measured_once(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return [Point("a", "1", 2.5, 20.0, 0.5), Point("a", "2", 3.5, math.inf)]

    first = PointStore(tmp_path / "points.json", {"data": "x"}).get("group", Point, measure)
    again = PointStore(tmp_path / "points.json", {"data": "x"}).get("group", Point, measure)
    assert first == again and len(calls) == 1


def test_a_failure_keeps_what_was_measured(tmp_path):
    store = PointStore(tmp_path / "points.json", {})
    store.get("good", Point, lambda: [Point("a", "", 1, 2)])
    with pytest.raises(ZeroDivisionError):
        store.get("bad", Point, lambda: [Point("a", "", 1 / 0, 2)])
    assert PointStore(tmp_path / "points.json", {}).get("good", Point, lambda: []) == [Point("a", "", 1, 2)]


def test_other_pictures_are_refused(tmp_path):
    PointStore(tmp_path / "points.json", {"data": "x"}).get("group", Point, lambda: [])
    with pytest.raises(InputError, match=r"holds points of {'data': 'x'}, not {'data': 'y'}; give another folder"):
        PointStore(tmp_path / "points.json", {"data": "y"})
    (tmp_path / "points.json").write_text("[]")
    with pytest.raises(InputError, match=r"points\.json"):
        PointStore(tmp_path / "points.json", {"data": "x"})


def test_perfect_copies_are_null_in_the_file_and_infinite_outside(tmp_path):
    path, protocol = tmp_path / "points.json", {"content": "x"}
    point = Point("png", "lossless", 10.0, float("inf"))
    measured = PointStore(path, protocol).get("a", Point, lambda: [point])
    assert "Infinity" not in path.read_text()
    assert PointStore(path, protocol).get("a", Point, lambda: pytest.fail("measured")) == measured == [point]
