from PIL import Image

from pictogram.pipelines.emergence_plot import plot_emergence


def test_a_picture_of_two_measures(tmp_path):
    values = {"bits": 3.0, "held_out_information": 1.0, "majority_vote": 0.5}
    summary = [{"method": method, "mean": values} for method in ("ours", "k-means", "k-means")]
    plot_emergence({"summary": summary}, tmp_path / "emergence.png")
    assert Image.open(tmp_path / "emergence.png").size == (1560, 660)
