"""Captions of metadata files, letter by letter."""

import json

import pytest
from tiny_pictures import png, write_files

from pictogram.hub.errors import InputError
from pictogram.tokenizer.codes_sources import open_codes_source
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


def test_a_picture_that_is_listed_twice_has_both_captions(tmp_path):
    lines = [{"file_name": "0.png", "caption": text} for text in ("a cat", "NA")]
    lines.insert(1, {"file_name": "1.png", "caption": "a dog"})
    files = {"0.png": png(0), "1.png": png(1), "metadata.jsonl": "\n".join(map(json.dumps, lines))}
    assert captions(write_files(tmp_path, files)) == [["a cat"], ["NA"], ["a dog"]]


def test_rows_without_a_caption_among_dates(tmp_path):
    lines = [{"file_name": "0.png", "caption": "2020-01-01"}, {"file_name": "1.png", "caption": None}]
    lines.append({"file_name": "2.png"})
    files = {f"{number}.png": png(number) for number in range(3)}
    write_files(tmp_path, files | {"metadata.jsonl": "\n".join(map(json.dumps, lines))})
    assert captions(tmp_path) == [["2020-01-01"], [""], [""]]


def test_other_splits_do_not_matter(tmp_path):
    for split, row in (("train", {"caption": "007"}), ("test", {"number": 3})):
        line = json.dumps({"file_name": "0.png"} | row)
        write_files(tmp_path / split, {"0.png": png(0), "metadata.jsonl": line})
    assert captions(tmp_path) == [["007"]]


def test_a_caption_that_is_no_text_is_not_passed_over_where_captions_count(tmp_path):
    line = json.dumps({"file_name": "0.png", "caption": 7})
    write_files(tmp_path, {"0.png": png(0), "metadata.jsonl": line})
    with pytest.raises(InputError, match=r"has a column 'caption' that holds Value\('int64'\) and no text"):
        open_codes_source(str(tmp_path))
    assert len(load_image_source(str(tmp_path))) == 1
