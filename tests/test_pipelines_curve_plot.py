import importlib.util

import pytest
from PIL import Image

from pictogram import InputError
from pictogram.pipelines.curve_plot import plot_curves
from pictogram.pipelines.curve_points import Point


@pytest.mark.parametrize(("similarity", "size"), [(None, (960, 720)), (0.5, (1800, 720))])
def test_one_panel_a_measure(tmp_path, similarity, size):
    points = [Point("a", "", 0, 9.0, similarity), Point("a", "", 10, 20.0, similarity), Point("a", "", 40, 26.0)]
    plot_curves({"a": points, "b": points[1:2]}, tmp_path / "curve.png", emphasised=["b"])
    assert Image.open(tmp_path / "curve.png").size == size


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs matplotlib: pip install matplotlib"):
        plot_curves({}, tmp_path / "curve.png")
