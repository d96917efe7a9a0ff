"""The state of the Search page without uploaded photos, and its URL parameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from dashboard.link import Params, last_value, non_default_params, unique_values
from search_api.schemas import MAX_LIMIT, Filter, SearchRequest

DEFAULT_LIMIT: int = SearchRequest.model_fields["limit"].default


@dataclass(frozen=True)
class SearchState:
    """Words, example listings and filters. The field names are both the widgets' keys and the URL's parameters."""

    text: str = ""
    listing_id: tuple[str, ...] = ()  # positive examples
    unlike: tuple[str, ...] = ()  # negative examples
    category: tuple[str, ...] = ()
    subcategory: str = ""
    price_min: float | None = None
    price_max: float | None = None
    location: str = ""
    listed_after: date | None = None
    limit: int = DEFAULT_LIMIT

    @classmethod
    def from_params(cls, params: Mapping[str, Sequence[str]]) -> "SearchState":
        """Read a URL's parameters. Invalid values are ignored."""
        limit = _number(last_value(params, "limit"))
        return cls(
            text=last_value(params, "text"),
            listing_id=unique_values(params, "listing_id"),
            unlike=unique_values(params, "unlike"),
            category=unique_values(params, "category"),
            subcategory=last_value(params, "subcategory"),
            price_min=_number(last_value(params, "price_min")),
            price_max=_number(last_value(params, "price_max")),
            location=last_value(params, "location"),
            listed_after=_date(last_value(params, "listed_after")),
            limit=DEFAULT_LIMIT if limit is None else min(max(int(limit), 1), MAX_LIMIT),
        )

    def to_params(self) -> Params:
        """Return the URL parameters, without defaults."""
        return non_default_params(self)

    @property
    def prices_crossed(self) -> bool:
        """Whether the lowest price is above the highest, so that no price passes."""
        return self.price_min is not None and self.price_max is not None and self.price_min > self.price_max

    def filters_in_words(self) -> list[str]:
        """Return a phrase for each active filter."""
        phrases = []
        if self.category:
            phrases.append(f"Category: {' or '.join(self.category)}")
        if self.subcategory:
            phrases.append(f"Subcategory begins with: {self.subcategory}")
        if self.price_min is not None:
            phrases.append(f"Price: {self.price_min:,.2f} or more")
        if self.price_max is not None:
            phrases.append(f"Price: {self.price_max:,.2f} or less")
        if self.location:
            phrases.append(f"Location begins with: {self.location}")
        if self.listed_after:
            phrases.append(f"Listed after: {self.listed_after}")
        return phrases

    def filter(self) -> Filter:
        """Return the filters for the API. They exclude the example listings."""
        return Filter(
            categories=list(self.category),
            subcategory=self.subcategory or None,
            price_min=self.price_min,
            price_max=self.price_max,
            location=self.location or None,
            listed_after=self.listed_after
            and datetime(self.listed_after.year, self.listed_after.month, self.listed_after.day, tzinfo=UTC),
            exclude_listing_ids=[*self.listing_id, *self.unlike],
        )


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
