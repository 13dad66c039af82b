import json

import pytest
from PIL import Image
from tiny_chain import bundle_folder, pictures, processor, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.pipelines.evaluate_commands import app
from pictogram.pipelines.evaluate_names import evaluate_names
from pictogram.pipelines.name_accuracy import measure_names
from pictogram.tokenizer.pixel_dataset import load_pixels


def test_names_from_a_folder():
    found = evaluate_names(str(bundle_folder()), str(pictures()), "train", 0, 3.0, 6)
    assert found["num_captions"] == 6
    assert found["guidance_scale"] == 3.0
    assert "groups" not in found


def test_samples_are_those_of_the_figures():
    data = load_pixels(str(pictures()), "train", processor())[0]
    found = measure_names(shared_bundle(), data, seed=2, num_captions=6)
    assert sum(found.samples.recalled) / 6 == found.accuracy.name_accuracy
    assert found.samples.captions == [data.source.captions(row)[0] for row in found.samples.rows]
    assert found.samples.pixels.shape == (6, 3, 16, 16)


def call(*arguments: str) -> None:
    given = ["names", "--model", str(bundle_folder()), "--data", str(pictures()), "--num-captions", "6", *arguments]
    app(given, standalone_mode=False)


def test_the_command_writes_pictures_and_mistakes(tmp_path, capsys):
    call("--column", "caption", "--output", str(tmp_path / "out"), "--json")
    report = json.loads(capsys.readouterr().out)
    mistakes = json.loads((tmp_path / "out" / "mistakes.json").read_text())["mistakes"]
    assert len(mistakes) == round(6 * (1 - report["name_accuracy"]))
    assert sum(group["num_captions"] for group in report["groups"].values()) == 6
    with Image.open(tmp_path / "out" / "names.png") as picture:
        assert picture.height > 64 * len(report["groups"])
    written = (tmp_path / "out" / "names.png").read_bytes()
    call("--column", "caption", "--output", str(tmp_path / "again"))
    assert (tmp_path / "again" / "names.png").read_bytes() == written
    out = capsys.readouterr().out
    assert "name_accuracy: " in out and "group" in out and "sad face" in out


def test_a_column_that_is_missing():
    with pytest.raises(InputError, match="has no column 'kind'; its columns: "):
        evaluate_names(str(bundle_folder()), str(pictures()), "train", 0, 3.0, 6, column="kind")
