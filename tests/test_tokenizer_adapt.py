"""`pictogram adapt` from the command line."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from tiny_adaptation import new_folder, old_folder, pixels, processor, tokenizer_folder
from tiny_evaluations import provenance
from tiny_model import make

from pictogram.hub.command_line import run_command
from pictogram.hub.provenance import history
from pictogram.tokenizer.adapt import REPORT_FILE, main
from pictogram.tokenizer.config import ImageTokenizerConfig
from pictogram.tokenizer.image_processor import ImageTokenizerImageProcessorPil
from pictogram.tokenizer.loading import load_image_tokenizer
from pictogram.tokenizer.model import ImageTokenizer


@pytest.fixture
def call(monkeypatch, tmp_path):
    """Runs the command with small settings and returns its exit code."""

    def run(**options: str) -> int:
        given = {
            "from": str(tokenizer_folder()),
            "data": str(new_folder()),
            "reference": str(old_folder()),
            "measured-split": "test",
            "new-codes": "2,3,4",
            "num-steps": "3",
            "batch-size": "8",
            "output": str(tmp_path / "adapted"),
        } | {name.replace("_", "-"): value for name, value in options.items()}
        flags = [f"--{name}={value}" if value else f"--{name}" for name, value in given.items()]
        monkeypatch.setattr(sys, "argv", ["adapt", *flags])
        with pytest.raises(SystemExit) as exit_:
            run_command(main)
        assert isinstance(exit_.value.code, int)
        return exit_.value.code

    return run


def test_a_grown_tokenizer_reads_the_old_codes(call, tmp_path, capsys):
    assert call(mode="grow", json="") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "adapted" / REPORT_FILE).read_text())
    assert printed["mode"] == "grow" and printed["settings"]["new_codes"] == "2,3,4" and printed["failures"] == []
    before, after = load_image_tokenizer(tokenizer_folder()), load_image_tokenizer(tmp_path / "adapted")
    assert isinstance(after.model, ImageTokenizer) and len(after.model.config.ancestors or []) == 1
    codes = before.model.encode(pixels(old_folder(), "test").pixels(range(4)))
    assert torch.equal(after.model.decode(codes), before.model.decode(codes))
    assert not list(Path(tmp_path).rglob("*.tmp"))


def test_the_provenance_names_the_training_before(call, tmp_path, capsys):
    folder = shutil.copytree(tokenizer_folder(), tmp_path / "before")
    made = provenance(load_image_tokenizer(folder))
    made.save(folder)
    assert call(**{"from": str(folder)}) == 0
    loaded = load_image_tokenizer(tmp_path / "adapted")
    found = loaded.checked_provenance()
    assert found is not None
    assert (found.stage, found.data["name"], found.data["split"]) == ("adaptation", new_folder().name, "train")
    assert (found.settings["start_from"], found.settings["reference"]) == ("before", old_folder().name)
    assert found.settings["start"] == [each[:16] for each in made.fingerprints.values()]
    assert (found.settings["learning_rate"], found.settings["optimizer"]) == (0.05, "adamw")
    assert found.earlier == history(made) and loaded.history()[1]["stage"] == "adaptation"
    provenance(loaded).save(folder)
    assert call(**{"from": str(folder), "output": str(tmp_path / "other")}) == 2
    assert "is another model's" in _error(capsys) and not (tmp_path / "other").exists()


def test_people_see_tables(call, capsys):
    assert call(mode="symbols") == 0
    out = capsys.readouterr().out
    assert "5 + 2" in out and "bit-identical" in out and "PSNR" in out
    assert "encoder: bit-identical" in out and "numbers changed" in out


def test_a_folder_with_something_in_it_is_not_written_to(call, tmp_path, capsys):
    (tmp_path / "adapted").mkdir()
    assert call(num_steps="1") == 0, "an empty one will do"
    assert call(num_steps="1") == 2
    assert "exists already" in _error(capsys)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"mode": "everything"}, "mode must be one of grow, symbols, full, lora, got 'everything'"),
        ({"reference": ""}, "reference must name the old pictures"),
        ({"new_codes": "1,2"}, "new_codes must be one share"),
        ({"from": "nowhere"}, "nowhere is not an image tokenizer"),
        ({"data": "nowhere/"}, "nowhere"),
        ({"split": "validation"}, "validation"),
        ({"mode": "lora", "lora_rank": "0", "lora_budget": "3"}, "lora_budget must be at least"),
    ],
)
def test_mistakes_are_one_line(call, capsys, tmp_path, options, message):
    assert call(**({"reference=": ""} if options == {"reference": ""} else options)) == 2
    assert message in _error(capsys)
    assert not (tmp_path / "adapted").exists()


def test_a_folder_without_pictures(call, capsys, tmp_path):
    (tmp_path / "nothing" / "train").mkdir(parents=True)
    assert call(data=str(tmp_path / "nothing")) == 2
    assert "nothing" in _error(capsys)


def test_tokenizers_without_rows_are_refused(call, capsys, tmp_path):
    config = ImageTokenizerConfig(image_size=16, hidden_size=8, quantizer="fsq", codebook_sizes=[15, 15, 15])
    _save(ImageTokenizer(config), processor(), tmp_path / "fsq")
    assert call(**{"from": str(tmp_path / "fsq")}) == 2
    assert "has the quantizer 'fsq'; only codebooks of the quantizer" in _error(capsys)


def test_pixels_that_do_not_fit_are_refused(call, capsys, tmp_path):
    _save(make(num_channels=1), processor(), tmp_path / "grey")
    assert call(**{"from": str(tmp_path / "grey")}) == 2
    assert "must be (B, 1, H, W), got" in _error(capsys)


def _save(model: ImageTokenizer, processor: ImageTokenizerImageProcessorPil, folder: Path) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def _error(capsys) -> str:
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("error: "), err
    return err
