import json

import pytest
import torch
from PIL import Image
from tiny_chain import bundle_folder, pictures, processor, shared_bundle

from pictogram.hub.errors import InputError
from pictogram.pipelines.evaluate_commands import app
from pictogram.pipelines.evaluate_names import evaluate_names
from pictogram.pipelines.name_accuracy import NamedSamples, measure_names
from pictogram.pipelines.name_grid import accuracy_by_group, grouped, mistaken, sample_grid
from pictogram.tokenizer.images import ClassLabels
from pictogram.tokenizer.pixel_dataset import load_pixels


def test_names_from_a_folder():
    found = evaluate_names(str(bundle_folder()), str(pictures()), "train", 0, 3.0, 6)
    assert found["num_captions"] == 6
    assert found["guidance_scale"] == 3.0
    assert "groups" not in found


def samples() -> NamedSamples:
    """Four samples of the training pictures 5, 0, 2 and 3, the second and the last mistaken."""
    return NamedSamples(
        rows=[5, 0, 2, 3],
        captions=["owl", "cat", "red car", "bus"],
        pixels=torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 8, 8) * 60,
        nearest=[["owl"], ["dog", "hound"], ["car", "red car"], [""]],
    )


def labels() -> ClassLabels:
    return ClassLabels("kind", ("plants", "animals", "things"), torch.tensor([1, 1, 2, -1, 2, 1]))


def test_groups_keep_the_order_and_leave_out_what_has_no_label():
    groups = grouped(samples(), labels())
    assert groups == {"animals": [0, 1], "things": [2]}
    assert accuracy_by_group(samples(), groups) == {
        "animals": {"name_accuracy": 0.5, "num_captions": 2},
        "things": {"name_accuracy": 1.0, "num_captions": 1},
    }


def test_the_mistaken_are_listed_with_what_they_are_like():
    assert mistaken(samples()) == [{"caption": "cat", "nearest": "dog"}, {"caption": "bus", "nearest": ""}]


def test_a_grid_has_a_row_for_each_group():
    one, several = sample_grid(samples()), sample_grid(samples(), grouped(samples(), labels()))
    assert one.width > several.width and several.height > one.height
    grey = [several.getpixel((6 + 35 + column * 70, 6 + 35)) for column in range(2)]
    assert grey == [(0, 0, 0), (60, 60, 60)]


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
