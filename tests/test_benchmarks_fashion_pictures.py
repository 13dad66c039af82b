"""`benchmarks/fashion_pictures.py`: the first samples of several systems under each other."""

import importlib
from pathlib import Path

import pytest
from PIL import Image
from tiny_samples import NAMES, noise

from pictogram import InputError
from pictogram.pipelines.sample_shards import write_samples

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def script(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("fashion_pictures")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Two sets of 6 and 4 pictures of two classes."""
    folder = tmp_path_factory.mktemp("samples")
    for name, count, seed in (("ours", 6, 0), ("theirs", 4, 50)):
        write_samples(folder / name, noise, NAMES, count, seed=seed, origin={}, shard_size=100)
    return folder


def test_the_first_of_each_class_as_they_come(script, samples):
    found = script.first_of_each_class(str(samples / "ours"), 2)
    assert list(found) == NAMES
    drawn = noise([0, 1, 0, 1], [0, 1, 2, 3])  # seeds count up, classes take turns
    expected = [image.convert("RGB") for image in drawn]
    assert [image.tobytes() for image in found["bright"]] == [expected[0].tobytes(), expected[2].tobytes()]
    assert [image.tobytes() for image in found["dark"]] == [expected[1].tobytes(), expected[3].tobytes()]


def test_rows_of_every_system(script, samples, tmp_path):
    systems = [f"{name}={samples / name}" for name in ("ours", "theirs")]
    script.main(["--rows", "2", "--cell", "32", "--out", str(tmp_path / "grid.png"), *systems])
    sheet = Image.open(tmp_path / "grid.png")
    assert sheet.height > 4 * 32 and 2 * 32 < sheet.width < 4 * 32


def test_too_few_pictures_of_a_class(script, samples):
    with pytest.raises(InputError, match=r"3 pictures a class are needed, .* has 2 of bright"):
        script.first_of_each_class(str(samples / "theirs"), 3)


def test_pictures_without_labels(script, image_folder):
    with pytest.raises(InputError, match="class labels are needed"):
        script.first_of_each_class(str(image_folder), 1)


def test_other_classes(script, samples, tmp_path):
    write_samples(tmp_path / "other", noise, ["a", "b"], 4, seed=0, origin={}, shard_size=100)
    with pytest.raises(InputError, match="the same classes"):
        script.compare({"ours": str(samples / "ours"), "other": str(tmp_path / "other")}, 1, 32)


def test_rows_and_names_that_are_none(script, samples, tmp_path, capsys):
    system = f"ours={samples / 'ours'}"
    for words, message in ((["--rows", "0", system], "at least 1"), ([system, system], "a name of its own")):
        with pytest.raises(SystemExit):
            script.main(["--out", str(tmp_path / "grid.png"), *words])
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", ["no-name", "=data", "name="])
def test_how_systems_are_given(script, tmp_path, capsys, words):
    with pytest.raises(SystemExit):
        script.main(["--out", str(tmp_path / "grid.png"), words])
    assert "NAME=DATA" in capsys.readouterr().err
