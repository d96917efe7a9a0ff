"""SearchFilter -> Milvus expression. The only place where an expression is built.

Milvus Lite refuses filter templates, so values are quoted here: double quotes, with backslash, double quote, newline,
carriage return and tab escaped, which both Lite and the server read back unchanged.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from catalog.errors import InvalidFilter

StringField = Literal["photo_id", "listing_id", "category", "location"]

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_UNQUOTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """What a hit must fulfil. Empty means everything. `location` is what the location begins with."""

    categories: tuple[str, ...] = ()
    price_min: float | None = None
    price_max: float | None = None
    location: str = ""
    exclude_listing_ids: tuple[str, ...] = ()

    @property
    def is_narrow(self) -> bool:
        """Whether more than single listings are left out, so that the nearest photos may all fail it."""
        return bool(self.categories or self.location or self.price_min is not None or self.price_max is not None)

    def expression(self) -> str:
        """Give the Milvus expression, '' for everything. Raises InvalidFilter for a value that cannot be asked for."""
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise InvalidFilter(f"The lowest price, {self.price_min:g}, is above the highest, {self.price_max:g}.")
        clauses = []
        if self.categories:
            clauses.append(one_of("category", self.categories))
        # An unknown price is stored as -1: a price filter of any kind leaves those listings out.
        if self.price_min is not None or self.price_max is not None:
            clauses.append(f"price >= {_number(self.price_min or 0.0, at_least=0.0)}")
        if self.price_max is not None:
            clauses.append(f"price <= {_number(self.price_max)}")
        if self.location:
            # A range instead of `like`: there, % and _ in the value would be wildcards, with no escape on the server.
            clauses.append(f"location >= {quote(self.location)}")
            clauses.append(f"location < {quote(self.location + _LAST_CHARACTER)}")
        if self.exclude_listing_ids:
            clauses.append("not (" + one_of("listing_id", self.exclude_listing_ids) + ")")
        return " and ".join(f"({clause})" for clause in clauses)


def one_of(field: StringField, values: Iterable[str]) -> str:
    """`field in ["a", "b"]`, quoted."""
    return f"{field} in [{', '.join(quote(value) for value in values)}]"


def quote(text: str) -> str:
    """Quote a string for an expression. Raises InvalidFilter for control characters, which no stored value holds."""
    if found := _UNQUOTABLE.search(text):
        raise InvalidFilter(
            f"The filter value {text[:80]!r} holds the character {found.group()!r}.",
            hint="Control characters cannot be searched for; leave it out.",
        )
    return f'"{text.translate(_ESCAPES)}"'


def is_quotable(text: str) -> bool:
    """Whether this can stand in an expression; ids that cannot would be impossible to look up again."""
    return not _UNQUOTABLE.search(text)


def make_quotable(text: str) -> str:
    """Put a space for each character that no expression may hold, so that what is stored can be asked for."""
    return _UNQUOTABLE.sub(" ", text).strip()


def _number(value: float, at_least: float = -math.inf) -> str:
    if not math.isfinite(value):
        raise InvalidFilter(f"The price {value} is not a number that can be compared.")
    return repr(max(float(value), at_least))
