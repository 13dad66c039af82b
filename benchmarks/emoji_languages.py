"""Emoji by their names in several languages: does a prior recall them in each, and by names it has not seen with them?

python benchmarks/emoji_languages.py --names NAMES --out languages
pictogram tokenize --data languages/learned --model noto --output languages-codes
pictogram train-lm --codes languages-codes --tokenizer noto --text-vocab-size 4096 --output languages-bundle
python benchmarks/emoji_languages.py --names NAMES --out languages --model languages-bundle --json languages.json

NAMES is parquet with columns `hexcode`, `lang` and `name`, such as emojibase gives. The pictures are the embedded ones.
A tenth of the pairs of a picture and a language is held out: the picture is learned under its names in the other
languages, and asked for in this one.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Dataset
from interleaved import print_report

from pictogram import Bundle, InputError, load_embedded
from pictogram.hub.command_line import entries, quiet_libraries
from pictogram.hub.files import atomic_files
from pictogram.pipelines.name_accuracy import measure_name_accuracy
from pictogram.tokenizer.pixel_dataset import load_pixels
from pictogram.tokenizer.sources import open_rows

KNOWN, HELD_OUT = "known", "held out"
_PARTS = 10
"""One pair in so many is held out."""


@dataclass(frozen=True)
class NamedPictures:
    """Pictures and their names.

    Attributes:
        pictures: rows of the embedded set.
        names: by language, one a picture; "" without one.
    """

    pictures: Dataset
    names: dict[str, list[str]]

    def learned(self) -> list[list[str]]:
        """For each picture its names but those that are held out."""
        return [
            [
                names[row]
                for language, names in self.names.items()
                if names[row] and not self._is_held_out(row, language)
            ]
            for row in range(len(self.pictures))
        ]

    def asked(self, language: str, kind: str) -> list[str]:
        """For each picture its name in a language if the pair is of this kind, or else ""."""
        return [
            name if self._is_held_out(row, language) == (kind == HELD_OUT) else ""
            for row, name in enumerate(self.names[language])
        ]

    def _is_held_out(self, row: int, language: str) -> bool:
        digest = hashlib.sha256(f"{hexcode(self.pictures['emoji'][row])}/{language}".encode()).digest()
        return digest[0] % _PARTS == 0


def hexcode(emoji: str) -> str:
    """Code points in hexadecimal, without the one that asks for colour.

    Example:
        >>> hexcode("❤️"), hexcode("😀")
        ('2764', '1f600')
    """
    return "-".join(format(ord(character), "x") for character in emoji if character != "\ufe0f")


def read(names: str, languages: Sequence[str]) -> NamedPictures:
    """Finds the embedded pictures' names.

    Raises:
        InputError: there are no such names, or none in a language.
    """
    rows = open_rows(names, "train").dataset
    if missing := {"hexcode", "lang", "name"} - set(rows.column_names):
        raise InputError(f"{names} has no column {min(missing)!r}; its columns: {', '.join(rows.column_names)}")
    pictures = load_embedded()["train"]
    codes = [hexcode(emoji) for emoji in pictures["emoji"]]
    keys = zip(rows["hexcode"], rows["lang"], strict=True)
    found = {(code.lower(), language): name for (code, language), name in zip(keys, rows["name"], strict=True)}
    by_language = {language: [found.get((code, language), "") for code in codes] for language in languages}
    for language, values in by_language.items():
        if not any(values):
            raise InputError(f"{names} has no names in {language!r}; it has {', '.join(sorted(set(rows['lang'])))}")
    return NamedPictures(pictures, by_language)


def write(given: NamedPictures, folder: Path) -> None:
    """Writes a folder of pictures to learn, and one for each language and kind to ask for."""
    columns: dict[str, list[Any]] = {"learned": given.learned()}
    for language in given.names:
        columns |= {_folder(language, kind): given.asked(language, kind) for kind in (KNOWN, HELD_OUT)}
    images = given.pictures.select_columns(["image"])
    for name, captions in columns.items():
        with atomic_files(folder / name) as temporary:
            images.add_column("caption", captions).to_parquet(str(temporary / "train.parquet"))  # pyright: ignore


def measure(model: str, folder: Path, languages: Sequence[str], num_captions: int, seed: int) -> dict[str, Any]:
    """Shares of pictures recalled by name, by language and kind."""
    bundle = Bundle.from_pretrained(model)
    report: dict[str, Any] = {"model": model, "seed": seed, "num_captions": num_captions}
    for language in languages:
        report[language] = {}
        for kind in (KNOWN, HELD_OUT):
            dataset, _ = load_pixels(str(folder / _folder(language, kind)), "train", bundle.image_processor)
            accuracy = measure_name_accuracy(bundle, dataset, seed=seed, num_captions=num_captions, guidance_scale=1.0)
            report[language][kind] = {
                "recalled": accuracy.name_accuracy,
                "shuffled": accuracy.shuffled_captions,
                "named": accuracy.caption_accuracy,
                "num_captions": accuracy.num_captions,
            }
    return report


def _folder(language: str, kind: str) -> str:
    return f"{language}-{kind.replace(' ', '-')}"


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", required=True, help="parquet of names")
    parser.add_argument("--languages", default="en,de,fr,es,ja,hi")
    parser.add_argument("--out", type=Path, default=Path("languages"), help="folder of the data")
    parser.add_argument("--model", help="bundle to measure; without one, the data is written")
    parser.add_argument("--num-captions", type=int, default=200, help="of each language and kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file for the report")
    given = parser.parse_args(arguments)
    quiet_libraries()
    languages = entries(given.languages)
    try:
        if given.model is None:
            write(read(given.names, languages), given.out)
        else:
            print_report(measure(given.model, given.out, languages, given.num_captions, given.seed), given.json)
    except InputError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
