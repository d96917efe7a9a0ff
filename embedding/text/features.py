"""A text -> its features: words, pairs of words and pieces of words, each as a 32-bit hash. Works in any language.

Pieces of words find plurals, compounds and typing errors: Bojanowski et al., "Enriching Word Vectors with Subword
Information", 2017. A script that is written without blanks (Chinese, Japanese, Thai) has pieces of one to three
characters instead of words.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from zlib import crc32

MAX_CHARACTERS = 2_000
"""Characters of a text that are read; a longer text is cut. A title has about 40."""

_PIECES = range(3, 6)
_SHORT_PIECES = range(1, 4)
_MAX_WORD = 40
_COMBINING_ACCENTS = range(0x300, 0x370)
# Thai is the first script in Unicode's order that is written without blanks; nearly all that follow are, too.
_FIRST_WITHOUT_BLANKS = "\u0e00"
_HANGUL = re.compile("[\u1100-\u11ff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Features:
    """The hashes of a text's features, each once: words and their pairs, and pieces of words."""

    words: list[int]
    pieces: list[int]


def extract_features(text: str) -> Features:
    """Return the features of a text; none for a text without letters and digits."""
    words = words_of(text)
    pairs = (f"{first} {second}" for first, second in pairwise(words))
    return Features(
        _hashes([*(word for word in words if _has_blanks(word)), *pairs]),
        # A piece is never mistaken for a word: no word contains a tilde.
        _hashes(f"~{piece}" for word in words for piece in _pieces(word)),
    )


def words_of(text: str) -> list[str]:
    """Return the words of a text, without case, accents and compatible forms: `CAFÉ-Stühle ½` -> cafe stuhle 1 2."""
    decomposed = unicodedata.normalize("NFKD", text[:MAX_CHARACTERS])
    folded = unicodedata.normalize("NFKD", decomposed.casefold())
    # Vowel signs of Thai, Hindi and others (category M) are parts of a word; accents over Latin letters are dropped.
    letters = "".join(
        char if unicodedata.category(char)[0] in "LNM" else " "
        for char in folded
        if ord(char) not in _COMBINING_ACCENTS
    )
    words = unicodedata.normalize("NFC", letters).split()
    # A mark alone is no word: emoji have some.
    return [word[:_MAX_WORD] for word in words if any(map(str.isalnum, word))]


def _pieces(word: str) -> Iterator[str]:
    framed, lengths = (f"<{word}>", _PIECES) if _has_blanks(word) else (word, _SHORT_PIECES)
    for length in lengths:
        for start in range(len(framed) - length + 1):
            yield framed[start : start + length]


def _has_blanks(word: str) -> bool:
    """Whether the script of a word separates words by blanks."""
    return word[0] < _FIRST_WITHOUT_BLANKS or bool(_HANGUL.match(word))


def _hashes(features: Iterable[str]) -> list[int]:
    return list({crc32(feature.encode()): None for feature in features})
