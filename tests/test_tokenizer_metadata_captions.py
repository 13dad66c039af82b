"""Captions of metadata files, letter by letter."""

import json

import pytest
from tiny_pictures import png, write_files

from pictogram.hub.errors import InputError
from pictogram.tokenizer.images import load_image_source

WORDS = ["NA", "null", "None", "nan", "true", "007", "a cat", ""]


def captions(folder) -> list[list[str]]:
    source = load_image_source(str(folder))
    return [source.captions(row) for row in sorted(range(len(source)), key=source.key)]


def csv_folder(folder, texts, column="caption"):
    lines = [f"file_name,{column}", *(f"{number}.png,{text}" for number, text in enumerate(texts))]
    files = {f"{number}.png": png(number) for number in range(len(texts))}
    return write_files(folder, files | {"metadata.csv": "\n".join(lines) + "\n"})


def test_words_that_pandas_takes_for_missing(tmp_path):
    assert captions(csv_folder(tmp_path, WORDS)) == [[text] for text in WORDS]


def test_digits_are_words_too(tmp_path):
    assert captions(csv_folder(tmp_path, ["0", "1", "02"])) == [["0"], ["1"], ["02"]]


def test_a_number_that_is_no_caption_stays_one(tmp_path):
    assert captions(csv_folder(tmp_path, ["5", "6"], "name")) == [[""], [""]]


def test_dates_in_json(tmp_path):
    texts = ["2020-01-01", "2021-02-03"]
    lines = [json.dumps({"file_name": f"{number}.png", "caption": text}) for number, text in enumerate(texts)]
    files = {f"{number}.png": png(number) for number in range(2)}
    assert captions(write_files(tmp_path, files | {"metadata.jsonl": "\n".join(lines)})) == [[text] for text in texts]


def test_several_captions_and_folders_with_metadata_of_their_own(tmp_path):
    for split, words in (("train", ["one", "two"]), ("test", ["three"])):
        line = json.dumps({"file_name": "0.png", "caption": words})
        write_files(tmp_path / split, {"0.png": png(0), "metadata.jsonl": line})
    assert captions(tmp_path) == [["one", "two"]]


def test_a_caption_that_is_no_text_is_not_passed_over(tmp_path):
    line = json.dumps({"file_name": "0.png", "caption": 7})
    write_files(tmp_path, {"0.png": png(0), "metadata.jsonl": line})
    with pytest.raises(InputError, match=r"has a column 'caption' that holds Value\('int64'\) and no text"):
        load_image_source(str(tmp_path))
