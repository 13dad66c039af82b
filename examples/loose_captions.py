"""Several captions a picture, so that a prior knows names however people write them: "Red apple", "an apple", "apple".

python examples/loose_captions.py captioned

It writes the embedded emoji as captioned/train.parquet and captioned/test.parquet, where `caption` is a list. Then
`pictogram tokenize --data captioned` keeps them all, and whenever a training sees a picture it draws one of them, those
that stand in the list twice twice as often. With `train-lm --describe-by-first` pictures are still described by the
first, which is the name itself.
"""

import re
import sys
from collections.abc import Collection
from pathlib import Path

from pictogram import load_embedded

_SMALL_WORDS = {"a", "an", "the", "and", "of", "in", "on", "at", "to", "with", "for", "not", "no", "from", "by", "o"}


def spellings(name: str, taken: Collection[str] = ()) -> list[str]:
    """What people may write for a name: itself, in other letters, in a phrase, and single words of it.

    Args:
        name: what the picture shows.
        taken: all names. A word that is one of them stands for the picture of that name alone.

    Example:
        >>> spellings("owl")
        ['owl', 'owl', 'owl', 'owl', 'Owl', 'Owl', 'an owl', 'An owl', 'the owl', 'a picture of an owl']
        >>> spellings("red apple")[-2:], spellings("cat face", {"cat face", "cat"})[-1:]
        (['red', 'apple'], ['face'])
    """
    phrase = f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
    written = [name] * 4 + [capitalised(name)] * 2
    phrases = [phrase, capitalised(phrase), f"the {name}", f"a picture of {phrase}"]
    return [*written, *phrases, *(word for word in words(name) if word not in taken)]


def capitalised(text: str) -> str:
    """The text with its first letter as a capital; `str.capitalize` would make all others small.

    Example:
        >>> capitalised("flag Guyana")
        'Flag Guyana'
    """
    return text[0].upper() + text[1:]


def words(name: str) -> list[str]:
    """The words of a name, without small ones; none where there is but one.

    Example:
        >>> words("woman with long hair"), words("owl")
        (['woman', 'long', 'hair'], [])
    """
    found = [word for word in re.findall(r"[\w-]+", name) if word.lower() not in _SMALL_WORDS and not word.isdigit()]
    return found if found != [name] else []


def main(output: str) -> None:
    """Writes the embedded emoji with all spellings of their names into the folder `output`."""
    folder, splits = Path(output), load_embedded()
    folder.mkdir(parents=True, exist_ok=True)
    taken = {name for rows in splits.values() for name in rows["name"]}
    for split, rows in splits.items():
        captions = [spellings(name, taken) for name in rows["name"]]
        rows.remove_columns("caption").add_column("caption", captions).to_parquet(folder / f"{split}.parquet")
        print(f"{split}: {len(rows)} pictures, {sum(map(len, captions))} captions")


if __name__ == "__main__":
    main(*sys.argv[1:2])
