import dataclasses
import functools
import json
import shutil
from typing import Any

import pytest
from PIL import Image
from tiny_chain import bundle_folder, home, pictures
from tiny_pictures import damaged_folder, picture, smooth_folder

from pictogram.hub.errors import InputError
from pictogram.pipelines import evaluate_codec as module
from pictogram.pipelines.curve_baselines import LAYOUTS, quick
from pictogram.pipelines.evaluate_codec import CodecEvaluation, evaluate_codec, tables
from pictogram.pipelines.evaluate_commands import named_bundles


@pytest.fixture(autouse=True)
def few_qualities(monkeypatch):
    """Two formats at two qualities each: the others are tested where files are."""
    known = module.formats
    monkeypatch.setattr(
        module, "formats", lambda n: [dataclasses.replace(kind, qualities=(10, 60)) for kind in known(n)[:2]]
    )


@functools.cache
def two_splits() -> str:
    """The same pictures to learn from and to measure on."""
    folder = home() / "codec-pictures"
    for split in ("train", "validation"):
        shutil.copytree(pictures(), folder / split, ignore=shutil.ignore_patterns("metadata.jsonl"))
    return str(folder)


def evaluation(**options) -> CodecEvaluation:
    given: dict[str, Any] = {"data": two_splits(), "split": "validation", "rate_weights": [30.0], "max_images": 12}
    given |= {"models": [str(bundle_folder())], "max_files": 3, "baselines": quick(LAYOUTS["crops"])}
    given |= options
    return CodecEvaluation(**given)


def test_all_curves_and_tables(tmp_path):
    output = tmp_path / "codec"
    report = evaluate_codec(evaluation(against={"other": [str(bundle_folder("pyramid"))]}), output)
    assert json.loads((output / "report.json").read_text()) == report
    names = {"pictogram", "pictogram file", "other", "klt", "patch vq", "jpeg file", "jpeg sheet"}
    assert names <= set(report["curves"])
    assert Image.open(output / "curves.png").width == 1800
    sizes = {point["codec"]: point["bytes"] for point in report["points"]}
    assert sizes["pictogram file"] > sizes["pictogram"]
    assert report["protocol"]["num_images"] == 12 and report["protocol"]["num_files"] == 3
    assert report["reader_bytes"][str(bundle_folder())] > 1000
    assert set(report["costs"][str(bundle_folder())]) == {"30"}
    text = (output / "tables.md").read_text()
    assert text == tables(report)
    assert "weight 30" in text and "| jpeg sheet" in text


def test_what_was_measured_is_not_measured_again(tmp_path, monkeypatch):
    first = evaluate_codec(evaluation(), tmp_path)
    monkeypatch.setattr(module, "codec_point", None)
    monkeypatch.setattr(module, "measure_files", None)
    assert evaluate_codec(evaluation(), tmp_path) == first


def test_pictures_of_several_sizes_have_files_only(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for number, size in enumerate([(16, 16), (20, 13), (33, 16)]):
        picture(number, size).save(folder / f"{number}.png")
    report = evaluate_codec(evaluation(data=str(folder), split="train"), tmp_path / "codec")
    assert "jpeg file" in report["curves"] and not {"jpeg sheet", "klt"} & set(report["curves"])


def test_without_pictures_to_learn_from(tmp_path):
    report = evaluate_codec(evaluation(reference_split="", at_psnr=[9.5]), tmp_path)
    assert "klt" not in report["curves"]
    assert set(report["at_psnr"]["pictogram"]) == {"9.5"}


def test_another_choice_of_pictures_needs_another_folder(tmp_path):
    evaluate_codec(evaluation(reference_split=""), tmp_path)
    with pytest.raises(InputError, match="give another folder"):
        evaluate_codec(evaluation(reference_split="", max_images=5), tmp_path)


def test_a_model_under_two_names_and_moved(tmp_path):
    """What was measured is known by its weights, and told by the name at hand."""
    copy = tmp_path / "copy"
    shutil.copytree(bundle_folder(), copy)
    both = [str(bundle_folder()), str(copy)]
    report = evaluate_codec(evaluation(models=[both[0]], reference_split=""), tmp_path / "codec")
    again = evaluate_codec(evaluation(models=[*both, both[0]], reference_split=""), tmp_path / "codec")
    assert [*again["costs"]] == both
    assert again["costs"][both[0]] == again["costs"][both[1]] == report["costs"][both[0]]
    moved = evaluate_codec(evaluation(models=both[1:], reference_split=""), tmp_path / "codec")
    assert [*moved["costs"]] == both[1:]


def test_other_pictures_under_the_same_name_need_another_folder(tmp_path):
    folder = tmp_path / "data"
    for seed in (0, 5):
        folder.mkdir(exist_ok=True)
        for number in range(3):
            picture(number + seed, (16, 16)).save(folder / f"{number}.png")
        if not seed:
            evaluate_codec(evaluation(data=str(folder), split="train", reference_split=""), tmp_path / "codec")
    with pytest.raises(InputError, match="give another folder"):
        evaluate_codec(evaluation(data=str(folder), split="train", reference_split=""), tmp_path / "codec")


def test_another_reference_is_measured_anew(tmp_path):
    smooth_folder(tmp_path / "data", 16)
    (tmp_path / "data" / "test").rename(tmp_path / "data" / "dev")
    shutil.copytree(tmp_path / "data" / "dev", tmp_path / "data" / "test")
    curves = []
    for split in ("train", "dev"):
        what = evaluation(data=str(tmp_path / "data"), split="test", reference_split=split)
        curves.append(evaluate_codec(what, tmp_path / "codec")["curves"]["klt"])
    assert curves[0] != curves[1]


def test_a_missing_reference_is_known_before_the_work(tmp_path, monkeypatch):
    smooth_folder(tmp_path / "data", 16)
    monkeypatch.setattr(module, "codec_point", None)
    with pytest.raises(InputError, match="nowhere"):
        evaluate_codec(
            evaluation(data=str(tmp_path / "data"), split="test", reference_split="nowhere"), tmp_path / "codec"
        )


def test_codecs_do_not_learn_the_pictures_they_are_measured_on(tmp_path):
    with pytest.raises(InputError, match="must differ, got split validation for both"):
        evaluate_codec(evaluation(reference_split="validation"), tmp_path / "codec")


def test_unreadable_pictures_are_listed(tmp_path):
    what = evaluation(data=damaged_folder(tmp_path), split="train", reference_split="")
    report = evaluate_codec(what, tmp_path / "codec")
    assert len(report["failures"]) >= 4
    assert report["protocol"]["num_images"] >= 2


def test_unreadable_pictures_to_learn_from_are_listed(tmp_path):
    folder = smooth_folder(tmp_path / "data", 16)
    (folder / "train" / "05.png").write_text("no picture")
    report = evaluate_codec(evaluation(data=str(folder), split="test"), tmp_path / "codec")
    assert "klt" in report["curves"]
    (failure,) = report["failures"]
    assert failure.startswith("train/05.png (")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": []}, "at least one bundle"),
        ({"layout": "round"}, "layout must be one of aligned, crops, got 'round'"),
        ({"rate_weights": [-1.0]}, "rate weights must be 0 or more"),
        ({"against": {"pictogram": ["x"]}}, "'pictogram' is the name of another curve"),
        ({"against": {"webp sheet": ["x"]}}, "'webp sheet' is the name of another curve"),
        ({"max_files": 0}, "max_files must be at least 1"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(InputError, match=message):
        CodecEvaluation(**({"models": ["bundle"], "data": "x"} | options))


def test_named_bundles():
    assert named_bundles(["a=x", "b=y=z", "a=w"]) == {"a": ["x", "w"], "b": ["y=z"]}
    for text in ("a", "=x", "a="):
        with pytest.raises(InputError, match="must be NAME=BUNDLE"):
            named_bundles([text])
