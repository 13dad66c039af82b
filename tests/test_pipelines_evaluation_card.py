import shutil

import pytest
from tiny_chain import bundle_folder, pictures, tokenizer_folder
from typer.testing import CliRunner

from pictogram.hub.errors import InputError
from pictogram.hub.evaluations import read_evaluations
from pictogram.lm.bundle import Bundle
from pictogram.pipelines.evaluate_commands import app
from pictogram.pipelines.evaluation_card import card_folder, measure_for_card
from pictogram.tokenizer.loading import load_image_tokenizer


def test_a_tokenizer_s(tmp_path):
    folder = shutil.copytree(tokenizer_folder(), tmp_path / "tokenizer")
    given = ["tokenizer", "--model", str(folder), "--data", str(pictures()), "--split", "train"]
    done = CliRunner().invoke(app, [*given, "--reference-split", "train", "--features", "none", "--card"])
    assert done.exit_code == 0, done.output
    kept = read_evaluations(folder, load_image_tokenizer(folder).fingerprint)
    assert kept["tokenizer"]["num_images"] == 16


def test_a_bundle_s(tmp_path):
    folder = shutil.copytree(bundle_folder(), tmp_path / "bundle")
    given = ["names", "--model", str(folder), "--data", str(pictures()), "--num-captions", "2"]
    plain = CliRunner().invoke(app, given)
    assert plain.exit_code == 0 and not (folder / "evaluation").exists()
    done = CliRunner().invoke(app, [*given, "--card"])
    assert done.exit_code == 0, done.output
    assert done.stdout == plain.stdout
    assert read_evaluations(folder, Bundle.from_pretrained(folder).fingerprint)["names"]["num_captions"] == 2


@pytest.mark.parametrize("model", ["owner/name", "noto", "nowhere"])
def test_what_has_no_folder_is_refused_before_the_work(model):
    with pytest.raises(InputError, match=f"--card writes into the model's own folder, and {model} is none"):
        card_folder(model)
    with pytest.raises(InputError):
        measure_for_card(model, "names", lambda: pytest.fail("measured"))


def test_a_model_that_is_replaced_while_it_is_measured(tmp_path):
    folder = shutil.copytree(tokenizer_folder(), tmp_path / "tokenizer")

    def measure() -> dict[str, int]:
        shutil.copytree(tokenizer_folder(1), folder, dirs_exist_ok=True)
        return {"num_images": 1}

    measure_for_card(str(folder), "tokenizer", measure)
    with pytest.raises(InputError, match="was measured on another model"):
        read_evaluations(folder, load_image_tokenizer(folder).fingerprint)
