"""The words of a title that speak for another category: how many of the other listings with them are in it. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embedding.text.features import words_of

SHOWN = 3
_MIN_LISTINGS = 3


@dataclass(frozen=True, slots=True)
class TitleWord:
    """A word, and of the other listings whose title has it, the shares in the suggested and the seller's category."""

    word: str
    suggested: float
    seller: float
    listings: int


def words_for(
    questions: Sequence[tuple[str, tuple[int, int]]], titles: Sequence[str], category: NDArray[np.int32]
) -> list[tuple[TitleWord, ...]]:
    """Return for each question (title, seller's and suggested category) up to SHOWN of its words, strongest first.

    `titles` (n,) and `category` (n,) are those of all listings; -1 is a listing without a category.
    """
    wanted = {word for title, _ in questions for word in words_of(title)}
    counts: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for title, number in zip(titles, category.tolist(), strict=True):
        for word in wanted.intersection(words_of(title)) if number >= 0 else ():
            counts[word][number] += 1
    return [tuple(_strongest(words_of(title), pair, counts)) for title, pair in questions]


def _strongest(words: Sequence[str], pair: tuple[int, int], counts: defaultdict[str, Counter[int]]) -> list[TitleWord]:
    own, suggested = pair
    found = []
    for word in dict.fromkeys(words):
        others = counts[word].copy()
        others[own] -= 1  # this listing
        total = others.total()
        if total >= _MIN_LISTINGS and others[suggested] > others[own]:
            found.append(TitleWord(word, others[suggested] / total, others[own] / total, total))
    return sorted(found, key=lambda word: -word.suggested * word.listings / (word.listings + _MIN_LISTINGS))[:SHOWN]
