import pytest
from tiny_chain import tokenizer_folder
from tiny_evaluations import tokenizer_evaluation

from pictogram.hub.errors import InputError
from pictogram.hub.evaluations import write_evaluation
from pictogram.hub.files import write_json
from pictogram.tokenizer.loading import LoadedImageTokenizer, load_image_tokenizer
from pictogram.tokenizer.tokenizer_figures import tokenizer_figures

GRIDS = [(1, 1), (2, 2)]


@pytest.fixture(scope="module")
def loaded() -> LoadedImageTokenizer:
    return load_image_tokenizer(tokenizer_folder())


def test_of_an_evaluation(loaded, tmp_path):
    write_evaluation(tmp_path, "tokenizer", loaded.fingerprint, tokenizer_evaluation())
    write_json(tmp_path / "complete.json", {"train": {"num_images": 1, "psnr": [9.0, 9.0]}})
    where, table = tokenizer_figures(tmp_path, loaded, GRIDS).paragraphs
    assert where == "On 300 pictures of `photos`, split `test`, RGB; padded."
    titles = "| level | codes | PSNR dB | codes in use | perplexity | bits, one histogram | bits, held out |"
    assert f"{titles}\n|---|---|---|---|---|---|---|\n| 0 | 1 | - | 100.0% | 5.5 | 2.5 | 2.6 |" in table
    assert "| 1 | 4 | 21.46 | 50.0% | 8.0 | 12.0 | 12.1 |" in table


def test_what_the_hub_lists(loaded, tmp_path):
    write_evaluation(tmp_path, "tokenizer", loaded.fingerprint, tokenizer_evaluation())
    index = tokenizer_figures(tmp_path, loaded, GRIDS).index
    assert {(figure.data, figure.split) for figure in index} == {("photos", "test")}
    assert [(figure.metric, figure.name, figure.value) for figure in index] == [
        ("psnr", "PSNR, dB, 5 codes", 21.456),
        ("usage", "share of level 0's codes in use", 1.0),
        ("usage", "share of level 1's codes in use", 0.5),
        ("bits_per_image", "bits a picture under static tables, held-out tables", 14.75),
    ]


def test_of_a_training(loaded, tmp_path):
    write_json(tmp_path / "complete.json", {"steps": 3, "train": {"num_images": 16, "psnr": [10.0, 12.345]}})
    figures = tokenizer_figures(tmp_path, loaded, GRIDS)
    assert figures.paragraphs == [
        "On 16 training pictures.",
        "| level | codes | PSNR dB |\n|---|---|---|\n| 0 | 1 | 10.00 |\n| 1 | 4 | 12.35 |",
    ]
    assert not figures.index, "a training does not measure what the Hub may list"


def test_of_another_tokenizer(loaded, tmp_path):
    write_evaluation(tmp_path, "tokenizer", "0" * 64, tokenizer_evaluation())
    with pytest.raises(InputError, match=r"tokenizer\.json was measured on another model"):
        tokenizer_figures(tmp_path, loaded, GRIDS)


def test_of_nothing(loaded, tmp_path):
    figures = tokenizer_figures(tmp_path, loaded, GRIDS)
    assert not figures.paragraphs and not figures.index and not figures.limits
