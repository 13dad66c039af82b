"""Adaptations as a picture."""

import pytest
from PIL import Image

pytest.importorskip("matplotlib")

from pictogram.pipelines.retention_plot import plot_retention

RUN = {"mode": "grow", "gain": 1.0, "change_on_old": -0.1, "report": {"share_changed": 0.05}}
SEQUENCE = {"mode": "grow", "seed": 0, "groups": [[0, 1], [2]], "psnr": [[20.0, 10.0], [19.0, 18.0]]}


@pytest.mark.parametrize(
    "report", [{"runs": [RUN, RUN | {"mode": "full"}], "tasks": []}, {"runs": [], "tasks": [SEQUENCE, SEQUENCE]}]
)
def test_a_picture_comes_out(tmp_path, report):
    plot_retention(report, tmp_path / "plot.png")
    assert Image.open(tmp_path / "plot.png").width > 500
