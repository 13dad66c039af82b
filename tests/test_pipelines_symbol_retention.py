"""The modes side by side."""

import json
from typing import Any

import pytest
from tiny_adaptation import asked, new_folder, old_folder, tokenizer_folder
from tiny_adaptation import trained as trained_tokenizer

from pictogram.hub.errors import InputError
from pictogram.pipelines import symbol_retention
from pictogram.pipelines.symbol_retention import RetentionEvaluation, evaluate_retention
from pictogram.pipelines.task_sequence import TaskSequence
from pictogram.tokenizer.adaptation_config import MODES
from pictogram.tokenizer.low_rank import LowRankAdapters, least_budget


def what(**options: Any) -> RetentionEvaluation:
    shared: dict[str, Any] = {
        "model": str(tokenizer_folder()),
        "data": str(new_folder()),
        "reference": "" if {"classes", "tasks"} & {*options} else str(old_folder()),
        "full_learning_rates": [1e-3, 1e-2],
        "settings": asked(num_steps=6, batch_size=16),
    }
    return RetentionEvaluation(**{**shared, **options})


def test_modes_are_measured_by_full_fine_tuning(tmp_path):
    report = evaluate_retention(what(num_seeds=2), tmp_path)
    assert json.loads((tmp_path / "retention.json").read_text()) == json.loads(json.dumps(report))
    runs = report["runs"]
    assert [(run["seed"], run["mode"]) for run in runs] == [
        (seed, mode) for seed in (0, 1) for mode in ("full", "grow", "symbols", "lora")
    ]
    for run in runs:
        change = run["report"]["new"]
        assert run["gain"] == change["psnr_after"][-1] - change["psnr_before"][-1]
        full = next(other for other in runs if other["seed"] == run["seed"])
        assert run["recovered"] == (pytest.approx(run["gain"] / full["gain"]) if full["gain"] > 0 else None)
    assert runs[0]["learning_rate"] in (1e-3, 1e-2)
    trained = {run["mode"]: run["report"]["numbers_trained"] for run in runs[:4]}
    decoder = trained_tokenizer().decoder
    assert trained["lora"] == least_budget(decoder) > trained["symbols"], "rank 1 at least"
    assert [entry["mode"] for entry in report["summary"]] == ["full", "grow", "symbols", "lora"]
    assert report["summary"][0]["num_runs"] == 2 and report["summary"][0]["spread"]["gain"] is not None


@pytest.mark.parametrize("asked_for", [{"lora_rank": 2}, {"lora_budget": 800}])
def test_adapters_are_as_large_as_asked_for(asked_for):
    settings = asked(num_steps=1, batch_size=16, **asked_for)
    runs = evaluate_retention(what(modes=["symbols", "lora"], settings=settings))["runs"]
    decoder = trained_tokenizer().decoder
    assert runs[1]["report"]["numbers_trained"] == LowRankAdapters(decoder, 2, seed=0).num_parameters
    assert least_budget(decoder) < 800 < LowRankAdapters(decoder, 3, seed=0).num_parameters


def test_measured_pictures_are_not_those_learned_from():
    with pytest.raises(InputError, match="must differ, got split train for both"):
        evaluate_retention(what(measured_split="train"))


def test_classes_of_one_data_set():
    report = evaluate_retention(what(classes="0", new_classes="1", modes=["grow"]))
    (run,) = report["runs"]
    assert run["recovered"] is None and run["report"]["new"]["num_images"] == run["report"]["old"]["num_images"] == 4
    assert report["summary"][0]["spread"]["gain"] is None


def test_every_task_gains_as_many_codes(monkeypatch):
    asked_for = []
    monkeypatch.setattr(
        symbol_retention,
        "task_sequence",
        lambda *parts: (
            asked_for.append(parts[-1]) or TaskSequence("full", 0, 1e-3, [[0], [1]], [[1.0, 2.0]] * 2, [], [5])
        ),
    )
    evaluate_retention(what(tasks="0,1", modes=["full", "symbols"], settings=asked(new_codes="3")))
    assert {settings.new_codes for settings in asked_for} == {"15,18,21"}, "of the tokenizer as given"
    assert [settings.learning_rate for settings in asked_for] == [1e-3, 1e-2, 0]


def test_tasks():
    report = evaluate_retention(what(tasks="0,1", modes=["grow", "full"]))
    assert [sequence["mode"] for sequence in report["tasks"]] == ["full", "grow"]
    assert not report["runs"] and not report["summary"]
    for sequence in report["tasks"]:
        matrix = sequence["psnr"]
        assert sequence["backward_transfer"] == pytest.approx(matrix[1][0] - matrix[0][0])


def test_adapters_of_tasks_are_as_large_as_the_rows_that_learned():
    report = evaluate_retention(what(tasks="0,1", modes=["lora", "symbols"]))
    trained = {sequence["mode"]: sequence["numbers_trained"] for sequence in report["tasks"]}
    assert [*trained] == ["symbols", "lora"]
    assert trained["lora"] == [least_budget(trained_tokenizer().decoder)] > trained["symbols"], "rank 1 at least"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"modes": ["all"]}, f"modes must be among {', '.join(MODES)}, got all"),
        ({"modes": []}, "got none"),
        ({"reference": ""}, "give one of: --reference"),
        ({"classes": "0", "reference": "old"}, "give one of: --reference"),
        ({"classes": "0"}, "must be one group each"),
        ({"classes": "0,1"}, "must be one group each"),
        ({"classes": "0,1", "new_classes": "2"}, "must be one group each"),
        ({"classes": "0-1", "new_classes": "1"}, "name each class once"),
        ({"tasks": "0-1"}, "two groups of classes at least"),
        ({"num_seeds": 0}, "num_seeds must be at least 1"),
        ({"full_learning_rates": [0.0]}, "full_learning_rates must be above 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        what(**options)
