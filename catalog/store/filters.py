"""Build Milvus expressions from a SearchFilter. No other module builds expressions.

Milvus Lite refuses filter templates, so values are quoted here: in double quotes, with backslash, double quote,
newline, carriage return and tab escaped. Lite and the server both read them back unchanged.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from catalog.errors import InvalidFilter
from catalog.store.records import UNKNOWN_TIME
from catalog.text import PATH_SEPARATOR, UNQUOTABLE

StringField = Literal["photo_id", "listing_id", "category", "currency"]

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})
_LAST_CHARACTER = "\U0010ffff"
_LATEST = 1 << 62  # larger values do not fit into an INT64


@dataclass(frozen=True, slots=True)
class SearchFilter:
    """Conditions on a hit. An empty filter passes everything.

    `subcategory` is a path or its first parts: `Beds` passes `Beds` and `Beds / Other`, not `Beds, Cots`.
    `currency` is an ISO 4217 code, `location` a prefix of the location, `listed_after` is in Unix seconds.
    """

    categories: tuple[str, ...] = ()
    subcategory: str = ""
    price_min: float | None = None
    price_max: float | None = None
    currency: str = ""
    location: str = ""
    listed_after: int | None = None
    exclude_listing_ids: tuple[str, ...] = ()
    exclude_photo_ids: tuple[str, ...] = ()

    @property
    def is_narrow(self) -> bool:
        """Whether the filter excludes more than single listings, so that all the nearest photos may fail it."""
        texts = (self.categories, self.subcategory, self.currency, self.location)
        return any(texts) or not self.price_min is self.price_max is self.listed_after is None

    def expression(self) -> str:
        """Return the Milvus expression; '' passes everything. Raises InvalidFilter for an invalid value."""
        if self.price_min is not None and self.price_max is not None and self.price_min > self.price_max:
            raise InvalidFilter(f"The lowest price, {self.price_min:g}, is above the highest, {self.price_max:g}.")
        clauses = []
        if self.categories:
            clauses.append(one_of("category", self.categories))
        if self.subcategory:
            descendants = _begins_with("subcategory", self.subcategory + PATH_SEPARATOR)
            clauses.append(f"subcategory == {quote(self.subcategory)} or ({descendants})")
        # An unknown price is stored as -1: every price filter excludes those listings.
        if self.price_min is not None or self.price_max is not None:
            clauses.append(f"price >= {_number(self.price_min or 0.0, at_least=0.0)}")
        if self.price_max is not None:
            clauses.append(f"price <= {_number(self.price_max)}")
        if self.currency:
            clauses.append(one_of("currency", [self.currency]))
        if self.location:
            clauses.append(_begins_with("location", self.location))
        if self.listed_after is not None:
            clauses.append(f"listed_at > {min(max(self.listed_after, UNKNOWN_TIME), _LATEST)}")
        if self.exclude_listing_ids:
            clauses.append("not (" + one_of("listing_id", self.exclude_listing_ids) + ")")
        if self.exclude_photo_ids:
            clauses.append("not (" + one_of("photo_id", self.exclude_photo_ids) + ")")
        return " and ".join(f"({clause})" for clause in clauses)


def one_of(field: StringField, values: Iterable[str]) -> str:
    """Return `field in ["a", "b"]`, with quoted values."""
    return f"{field} in [{', '.join(quote(value) for value in values)}]"


def quote(text: str) -> str:
    """Quote a string for an expression. Raises InvalidFilter for control characters, which no stored value has."""
    if match := UNQUOTABLE.search(text):
        raise InvalidFilter(
            f"The filter value {text[:80]!r} contains the character {match.group()!r}.",
            hint="Control characters cannot be searched for; remove this one.",
        )
    return f'"{text.translate(_ESCAPES)}"'


def _begins_with(field: Literal["subcategory", "location"], text: str) -> str:
    # A range instead of `like`, where % and _ in the value are wildcards that the server cannot escape.
    return f"{field} >= {quote(text)} and {field} < {quote(text + _LAST_CHARACTER)}"


def _number(value: float, at_least: float = -math.inf) -> str:
    if not math.isfinite(value):
        raise InvalidFilter(f"The price {value} is not a number that can be compared.")
    return repr(max(float(value), at_least))
