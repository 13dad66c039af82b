"""Words for symbols: those that say most about where a symbol occurs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_FEWEST = 2
"""Pictures in which a word and a symbol must meet before it may be one of its names."""

_PAIRS_AT_ONCE = 8192


@dataclass(frozen=True)
class SymbolWord:
    """One word for one symbol.

    Attributes:
        word: in lower case.
        bits: p(word | symbol) log2 of p(word | symbol) / p(word): its part in how far the words of the symbol's
            pictures are from those of all; above 0.
        share: p(word | symbol), of the symbol's pictures.
    """

    word: str
    bits: float
    share: float


def words_of(text: str) -> list[str]:
    """Words of a text, each once, in lower case; any script that separates words.

    Example:
        >>> words_of("Smiling cat-face, smiling!")
        ['smiling', 'cat-face']
    """
    return [*dict.fromkeys(_WORD.findall(text.lower()))]


def informative_words(
    captions: Sequence[Sequence[str]], presence: torch.Tensor, *, most: int = 8, vocabulary: int = 2000
) -> list[list[SymbolWord]]:
    """The words that are most over-represented in the pictures of each symbol.

    Args:
        captions: of N pictures, any number each.
        presence: (N, K) bool, which symbols occur in which pictures.
        most: words a symbol.
        vocabulary: most words to look at, the frequent ones first.

    Returns:
        K lists, the most informative word first; a word must meet the symbol in two pictures.
    """
    words = [words_of(" ".join(texts)) for texts in captions]
    frequent = Counter(word for each in words for word in each).most_common(vocabulary)
    names = [word for word, _ in frequent]
    if not names:
        return [[] for _ in range(presence.shape[1])]
    table = _meetings(words, names, presence)  # (W, K)
    in_all = torch.tensor([count for _, count in frequent]).double() / len(words)  # (W,)
    shares = table / presence.sum(0).clamp(min=1)  # p(word | symbol)
    bits = torch.where(table >= _FEWEST, shares * (shares / in_all[:, None]).log2(), 0.0)
    return [
        [SymbolWord(names[index], value, float(shares[index, symbol])) for value, index in _best(column, most)]
        for symbol, column in enumerate(bits.T)
    ]


def _meetings(words: Sequence[Sequence[str]], names: Sequence[str], presence: torch.Tensor) -> torch.Tensor:
    """(W, K) float64: pictures with both the word and the symbol."""
    numbers = {name: number for number, name in enumerate(names)}
    pairs = [(numbers[word], row) for row, each in enumerate(words) for word in each if word in numbers]
    table = torch.zeros(len(names), presence.shape[1], dtype=torch.float64)
    for places in torch.tensor(pairs, dtype=torch.int64).split(_PAIRS_AT_ONCE):
        table.index_add_(0, places[:, 0], presence[places[:, 1]].double())
    return table


def _best(bits: torch.Tensor, most: int) -> list[tuple[float, int]]:
    """Value and index of the largest ones above 0."""
    values, indices = bits.topk(min(most, len(bits)))
    return [(value, index) for value, index in zip(values.tolist(), indices.tolist(), strict=True) if value > 0]
