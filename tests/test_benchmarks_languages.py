"""`benchmarks/emoji_languages.py`: which names are learned, which are asked for, and a whole run of a tiny bundle."""

import importlib
import json
from pathlib import Path

import pytest
from datasets import Dataset
from tiny_chain import bundle_folder

from pictogram import InputError, load_embedded
from pictogram.tokenizer.images import load_image_source

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch):
    """The script, with the first forty pictures as all there are."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("emoji_languages")
    monkeypatch.setattr(module, "load_embedded", lambda: {"train": load_embedded()["train"].select(range(40))})
    return module


@pytest.fixture
def names(script, tmp_path):
    codes = [script.hexcode(emoji) for emoji in load_embedded()["train"][:40]["emoji"]]
    rows = [
        {"hexcode": code.upper(), "lang": language, "name": f"{language} {code}"}
        for code in codes
        for language in ("de", "ja")
        if (code, language) != (codes[3], "ja")
    ]
    path = tmp_path / "names.parquet"
    Dataset.from_list(rows).to_parquet(str(path))
    return path


def captions(folder):
    source = load_image_source(str(folder), "train")
    return [source.captions(row) for row in range(len(source))]


def test_every_name_is_learned_or_held_out(script, names, tmp_path):
    folder = tmp_path / "out"
    script.main(["--names", str(names), "--languages", "de,ja", "--out", str(folder)])
    learned = captions(folder / "learned")
    asked = {name: captions(folder / name) for name in ("de-known", "de-held-out", "ja-known", "ja-held-out")}
    for row in range(40):
        found = {name: rows[row][0] for name, rows in asked.items() if rows[row][0]}
        known = [words for name, words in found.items() if name.endswith("known")]
        assert sorted(known) == sorted(words for words in learned[row] if words)
        assert len(found) == (1 if row == 3 else 2)
    held_out = sum(bool(rows[0]) for rows in asked["de-held-out"] + asked["ja-held-out"])
    assert 1 <= held_out <= 20


def test_a_measurement(script, names, tmp_path):
    folder = tmp_path / "out"
    words = ["--names", str(names), "--languages", "de", "--out", str(folder)]
    script.main(words)
    script.main(
        [*words, "--model", str(bundle_folder()), "--num-captions", "4", "--json", str(tmp_path / "report.json")]
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["de"]) == {"known", "held out"}
    assert report["de"]["known"]["num_captions"] == 4
    assert 0 <= report["de"]["held out"]["recalled"] <= 1


def test_mistakes(script, names, tmp_path):
    with pytest.raises(InputError, match="no names in 'xx'; it has de, ja"):
        script.read(str(names), ["xx"])
    Dataset.from_list([{"name": "x"}]).to_parquet(str(tmp_path / "bad.parquet"))
    with pytest.raises(InputError, match="no column 'hexcode'"):
        script.read(str(tmp_path / "bad.parquet"), ["de"])
