from importlib import resources

from pictogram.tokenizer.embedded import load_embedded


def test_splits_and_columns():
    splits = load_embedded()
    assert {name: len(split) for name, split in splits.items()} == {"train": 1806, "test": 100}
    assert splits["train"].column_names == ["image", "caption", "name", "category", "emoji"]
    assert len(splits["train"].features["category"].names) == 9


def test_rows_decode_to_pictures():
    row = load_embedded()["train"][0]
    assert (row["image"].mode, row["image"].size) == ("RGB", (32, 32))
    assert (row["caption"], row["emoji"]) == ("grinning face", "😀")


def test_the_licenses_are_shipped():
    notice = (resources.files("pictogram.tokenizer") / "noto32" / "NOTICE").read_text(encoding="utf-8")
    assert "Apache License, Version 2.0" in notice
